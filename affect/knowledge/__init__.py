"""Generated knowledge: text descriptions of a clip's audio and video in its prompt (arXiv 2508.02429).

Sources make descriptions, the store keeps them, `attach` puts them into the records of a run, controls replace them,
and audits measure what they cost and give away. Prompts are built in affect.prompting.
"""

from affect.knowledge.protocol import MODALITIES, Describer, Description, Failure, request_hash

__all__ = ["MODALITIES", "Describer", "Description", "Failure", "request_hash"]
