"""The tasks of the paper (section 3.1), and what each is made of: stated once.

Every task is one token that starts the decoder's output: `<slu>` is from speech to semantics.
"""

TASKS = ("asr", "mlm", "slu", "nlu")  # the order of their tokens in a tokenizer
SPEECH_TASKS = ("asr", "slu", "mlm")  # trained on speech; mlm on speech with some words masked
TEXT_TASKS = ("nlu",)  # trained on text
WORD_TASKS = ("asr", "mlm")  # their outputs are words alone
TAGGED_TASKS = ("slu", "nlu")  # their outputs have tags

CONSTRAINTS = ("none", "well_formed", "grammar")  # of constrained decoding
