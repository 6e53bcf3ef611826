"""Lines of everyday talk, of the lengths that those of a series have."""

LINES = (
    "Oh my God, you are not going to believe what just happened at the coffee house!",
    "What?",
    "I told him that I could not make it on Friday, and he just hung up on me.",
    "Well, maybe he was busy, or maybe the line went dead.",
    "You know what, I do not even care any more. I really do not.",
    "That is so sweet of you! Thank you, thank you, thank you.",
    "No, no, no, wait. You gave away my jacket? The one my father left me?",
    "All right, everybody calm down, it is only a sandwich.",
)
