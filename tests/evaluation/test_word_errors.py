"""Word error rate against cases worked out by hand."""

import doctest
import math

import pytest

from affect.evaluation import word_errors as module
from affect.evaluation.word_errors import WordErrors, word_errors, words


@pytest.mark.parametrize(
    ("reference", "recognised", "errors", "number"),
    [
        ("Kids are talking by the door", "kids are talking by the door.", 0, 6),
        ("dogs are sitting by the door", "dogs were sitting by the door", 1, 6),  # one substitution
        ("dogs are sitting by the door", "dogs sitting by door", 2, 6),  # two deletions
        ("dogs are sitting", "the dogs are sitting down", 2, 3),  # two insertions
        ("a b c d", "b x d e", 3, 4),  # a deleted, c for x, e inserted: no alignment has fewer
        ("dogs", "thank you very much", 4, 1),  # more errors than words
        ("dogs are sitting", "", 3, 3),
        ("", "you", 1, 0),
    ],
)
def test_errors_are_those_of_the_best_alignment(reference, recognised, errors, number):
    assert word_errors([(reference, recognised)]) == WordErrors(errors, number)


def test_the_rate_is_over_all_words_and_not_the_mean_of_clips():
    counted = word_errors([("one two three four", "one two three four"), ("no", "yes")])
    assert counted.rate == 1 / 5
    assert word_errors([("dogs", "thank you very much")]).rate == 4
    assert math.isnan(word_errors([]).rate)


def test_case_and_punctuation_are_no_errors_and_apostrophes_are_letters():
    assert words("\u201cWell \u2014 I DON\u2019T know, do 'you'?\u201d") == words("well i don't know do you")
    assert words("snake_case, 3.5 %") == ["snake", "case", "3", "5"]


def test_the_examples_of_the_docstrings_are_true():
    result = doctest.testmod(module)
    assert result.attempted >= 3 and result.failed == 0
