"""The tasks that one model is trained on, by name."""

TASKS = ("asr", "mlm", "slu", "nlu")
TAGGED_TASKS = ("slu", "nlu")  # their outputs have tags, the others' words only
WORD_TASKS = ("asr", "mlm")
