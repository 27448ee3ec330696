"""The tasks of the paper (section 3.1), and what each is made of: stated once.

Every task is one token that starts the decoder's output: `<slu>` is from speech to semantics.
"""

from typing import Literal, get_args

Task = Literal["asr", "mlm", "slu", "nlu"]  # the order of their tokens in a tokenizer
TASKS: tuple[str, ...] = get_args(Task)
SPEECH_TASKS = ("asr", "slu", "mlm")  # trained on speech; mlm on speech with some words masked
TEXT_TASKS = ("nlu",)  # trained on text
WORD_TASKS = ("asr", "mlm")  # their outputs are words alone
TAGGED_TASKS = ("slu", "nlu")  # their outputs have tags


def token_of(task: str, shared_semantics_token: bool, transcript_first: bool = False) -> str:
    """The task whose token starts an output: the task itself, but where semantics share one, or
    begin with what is said.

    >>> token_of("nlu", shared_semantics_token=True), token_of("slu", True, transcript_first=True)
    ('slu', 'asr')
    """
    if transcript_first:
        return "asr" if task == "slu" else task
    return "slu" if shared_semantics_token and task == "nlu" else task


Constraint = Literal["none", "well_formed", "grammar"]  # of constrained decoding
CONSTRAINTS: tuple[str, ...] = get_args(Constraint)
