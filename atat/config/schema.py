"""Every setting: its type, default, unit, meaning and which values it may have, once.

`conf/base.yaml` is written from this file (`tools/write_settings.py`), for reading: a recipe's YAML
says only what differs from it. A resolved configuration is saved in the experiment, and later
stages read that.
"""

from dataclasses import dataclass, field

from atat.config.setting import (
    ABOVE_0,
    AT_LEAST_0,
    AT_LEAST_1,
    AT_MOST_0,
    BELOW_1,
    HALF,
    ODD,
    RANGE,
    RANGE_ABOVE_0,
    SHARE,
    SHARE_ABOVE_0,
    TWO_BELOW_1,
    any_of,
    one_of,
    setting,
    some_of,
    up_to,
)
from atat.config.tasks import CONSTRAINTS, TASKS


@dataclass
class DataConfig:
    """Stage 1: what is said, how often, and by whom."""

    grammar: str | None = setting(None, "path of the grammar (YAML), from the repository's root")
    num_train: int = setting(0, "spoken training utterances to render", AT_LEAST_0)
    num_train_text: int = setting(0, "written training sentences (no speech)", AT_LEAST_0)
    num_valid: int = setting(0, "spoken validation utterances", AT_LEAST_0)
    num_test: int = setting(0, "spoken test utterances", AT_LEAST_0)
    voices: dict[str, dict[str, float]] = setting(
        {}, "split: {engine: share}; engines of test must not be in train"
    )
    num_pseudo_speakers: int = setting(1, "resampling factors a voice", up_to(10000))
    rate_range: list[float] = setting([1.0, 1.0], "speaking rate, factor", RANGE_ABOVE_0)
    pitch_range: list[float] = setting(
        [1.0, 1.0], "pitch, factor, where the engine has it", RANGE_ABOVE_0
    )
    pronunciations: dict[str, list[str]] = setting(
        {},
        "of a grammar's words: {word: [spellings]} of other pronunciations, as likely as the "
        "word's own in training speech",
        was="sayings",
    )
    pauses: float = setting(0.0, "there, share of the gaps between words that have a pause", HALF)
    fillers: float = setting(0.0, 'there, share of words with "uh", "um" or "er" before them', HALF)
    part: str | None = setting(None, "of a corpus: its fold (close_1) or its splits (challenge)")
    num_folds: int = setting(5, "of cross-validation; paper: 5", AT_LEAST_1)
    max_missing: float = setting(0.01, "share of a split whose audio may be missing", SHARE)
    unsupported: bool = setting(
        True, "of trees: keep sentences whose intent is IN:UNSUPPORTED*, as the paper"
    )
    domains: list[str] = setting([], "of trees: those to learn; []: all the recipe is about")
    spelled_out: bool = setting(
        False, "of trees: texts have numbers in words, as they are said; semantics keep theirs"
    )
    renderings: int = setting(
        1, "times that a training sentence is spoken, by different voices", AT_LEAST_1
    )
    low_resource: float = setting(0.1, "of trees: share of training in train_low; paper")
    num_spoken: int = setting(
        0, "of trees: training sentences that are spoken too; 0 is all", AT_LEAST_0
    )
    num_recombined: int = setting(
        0, "of pretraining: additional training sentences, made by swapping slot values", AT_LEAST_0
    )
    num_asr: int = setting(0, "utterances of the rendered split asr: no semantics", AT_LEAST_0)
    num_word_lists: int = setting(
        0, "of pretraining: additional utterances of asr: random English words", AT_LEAST_0
    )
    num_foreign: int = setting(0, "of a grammar: utterances of other domains", AT_LEAST_0)
    trees: str | None = setting(
        None, "of pretraining: directory of a corpus of trees, whose data.domains are learned too"
    )
    asr_texts: str | None = setting(
        None,
        "of trees: directory of the same layout: sentences of its other domains for asr; of "
        "pretraining: file of sentences, one a line",
    )
    asr_corpus: str | None = setting(
        None, "directory of a corpus for recognition, whose recordings are the split asr instead"
    )
    recorded: str | None = setting(
        None, "of trees: directory of recordings, which are the split test_real"
    )
    stand_in: bool = setting(False, "the corpus is a stand-in, rendered by atat.toy_corpus")
    cache: str = setting("cache/synth", "rendered speech, kept for the next run")


@dataclass
class FeaturesConfig:
    """Stage 2."""

    kind: str = setting(
        "kaldi",
        "kaldi: its filter bank (paper); whisper: what Whisper's encoder takes",
        one_of("kaldi", "whisper"),
    )
    num_mel_bins: int = setting(80, "paper", up_to(4096))
    frame_length_ms: float = setting(25.0, "Kaldi's", ABOVE_0)
    frame_shift_ms: float = setting(10.0, "Kaldi's", ABOVE_0)
    sample_rate_hz: int = setting(16000, "everything is resampled to it", up_to(768000))
    min_duration_s: float = setting(0.1, "shorter audio is dropped and reported", AT_LEAST_0)
    max_duration_s: float = setting(30.0, "longer audio is dropped and reported", ABOVE_0)
    trim_db: float | None = setting(
        None, "find the speech inside a recording: this far below its loudest"
    )
    level_db: float | None = setting(
        None,
        "what is found is brought to this level, by its loudest 10 ms, in dB of full scale, "
        "without DC; what is silent has no speech",
        AT_MOST_0,
    )
    cmvn_splits: list[str] = setting(["train"], "mean and deviation come from these")
    allow_drops: bool = setting(False, "go on when more than 1 % of a split is dropped")


@dataclass
class TokenizerConfig:
    """Stage 3."""

    vocab_size: int = setting(500, "most pieces of words; paper: 5000", up_to(1000000))
    splits: list[str] = setting(["train", "train_text"], "whose text and semantics it learns from")
    pieces_of: str | None = setting(
        None, "Whisper, as model.speech_pretrained: words are cut as it does, into as many pieces"
    )
    pieces_of_start: bool = setting(
        True, "with --init_from: the pieces of words are the start's, and only tags are added"
    )


@dataclass
class ModelConfig:
    """The model of stage 4."""

    width: int = setting(
        144, "of encoders, decoder and embedding; a multiple of num_heads; paper: 256", up_to(65536)
    )
    num_heads: int = setting(4, "of attention; paper", up_to(1024))
    dropout: float = setting(0.1, "probability; paper", BELOW_1)
    front: str = setting(
        "stride", "stride: convolutions skip; max: max-pooling (paper)", one_of("max", "stride")
    )
    front_channels: int = setting(16, "of the two 2-D convolutions; paper: 256", up_to(4096))
    subsampling: int = setting(8, "input frames an encoder frame: 4 (paper) or 8", one_of(4, 8))
    utterance_mean: bool = setting(False, "subtract each utterance's own mean, not training's")
    speech_encoder: str = setting(
        "conformer",
        "conformer, transformer (paper), whisper (width, heads, layers and features.kind must "
        "be Whisper's), or adapter (layers that correct the states of a frozen encoder, at first "
        "by nothing: for decoder whisper)",
        one_of("conformer", "transformer", "whisper", "adapter"),
    )
    speech_pretrained: str | None = setting(
        None,
        "Whisper to start from: directory (CTranslate2's or Hugging Face's), installed package "
        "with one, or Hugging Face name in its cache",
    )
    speech_frozen_layers: int = setting(
        0, "of Whisper's encoder, from the input on: these are not trained", AT_LEAST_0
    )
    frozen_encoder: str | None = setting(
        None,
        "Whisper (as above) whose encoder, frozen, stands below speech_encoder: its states are "
        "computed once and cached (features.kind: whisper)",
        was="speech_base",
    )
    frozen_encoder_width: int = setting(
        384, "of it: tiny 384, base 512", up_to(65536), was="speech_base_width"
    )
    frozen_encoder_layers: int = setting(
        4, "of it: tiny 4, base 6", up_to(1000), was="speech_base_layers"
    )
    speech_layers: int = setting(4, "of speech_encoder; paper: 12", up_to(1000))
    speech_ffn: int = setting(432, "inner width of its feed-forward; paper: 2048", up_to(1048576))
    conformer_kernel: int = setting(15, "frames, odd", ODD)
    text_encoder: str = setting(
        "transformer",
        "transformer: small, ours; pretrained: a Hugging Face model",
        one_of("transformer", "pretrained"),
    )
    text_layers: int = setting(2, "of text_encoder, where it is ours", up_to(1000))
    text_ffn: int = setting(432, "inner width of its feed-forward", up_to(1048576))
    text_pretrained: str | None = setting(None, "its name or directory; paper: bert-base-uncased")
    text_frozen: bool = setting(False, "keep the pretrained weights as they are")
    decoder: str = setting(
        "transformer",
        "transformer (paper), or whisper: of its form, and started from it",
        one_of("transformer", "whisper"),
    )
    decoder_layers: int = setting(2, "paper: 6", up_to(1000))
    decoder_ffn: int = setting(576, "inner width of its feed-forward; paper: 2048", up_to(1048576))
    ctc_weight: float = setting(
        1.0, "of the words' CTC loss on the speech encoder; paper: 0", AT_LEAST_0
    )
    token_residual: bool = setting(
        True,
        "token embeddings (expected under the CTC posteriors, for speech) are added to the encoder "
        "states; paper: false",
        was="bridge",
    )
    ctc_to_text_share: float = setting(
        0.0,
        "of training utterances whose decoder attends to the text encoder, fed with CTC "
        "posteriors, instead; above 0 the task nlu always reads speech so, at 1 all; paper: 0",
        SHARE,
        was="heard_share",
    )
    shared_semantics_token: bool = setting(
        False,
        "semantics of speech and of text start with one task token, <slu>, so that a domain that "
        "was only read is no other task when it is heard; paper: false",
    )
    transcript_first: bool = setting(
        False,
        "the decoder writes what is said, then its semantics, `turn it on <nlu> turnOn( ... "
        ")turnOn`; these follow from the words written there alone, heard or given: there is no "
        "text encoder; needs ctc_weight 0; paper: false",
    )


@dataclass
class AugmentConfig:
    """Of training features, a new draw every time; above model.frozen_encoder see copies."""

    enabled: bool = setting(True, "whether anything below is done")
    low_strength_fraction: float = setting(
        0.15, "of the steps, at first, with lower strength", SHARE, was="mild_fraction"
    )
    tempo: list[float] = setting([0.7, 1.1], "factor of speaking rate", RANGE_ABOVE_0)
    time_warp: float = setting(
        0.6, "local changes of tempo, up to this share of it", BELOW_1, was="sway"
    )
    frequency_warp: list[float] = setting(
        [0.85, 1.2], "factor of the frequency axis (vocal tract)", RANGE_ABOVE_0, was="warp"
    )
    equaliser_db: float = setting(
        6.0, "smooth frequency response of a microphone, up to", AT_LEAST_0
    )
    spectral_blur: float = setting(0.0, "chance of blurred harmonics", SHARE, was="smooth")
    band_limit: float = setting(0.2, "chance of a limited band", SHARE)
    reverb: float = setting(0.3, "chance of a room", SHARE)
    noise: float = setting(0.7, "chance of noise", SHARE)
    snr_db: list[float] = setting([5.0, 40.0], "range of it, by the loudest frame", RANGE)
    impulse_noise: float = setting(
        0.2, "chance of impulses in the noise, up to 15 dB louder", SHARE, was="knocks"
    )
    babble: float = setting(0.15, "chance of somebody else speaking behind", SHARE)
    babble_db: list[float] = setting([8.0, 25.0], "so far below, by the loudest", RANGE)
    babble_voices: int = setting(1, "how many speak there", AT_LEAST_1)
    padding_s: float = setting(0.5, "silence added before and after, up to", AT_LEAST_0)
    long_padding: float = setting(
        0.0,
        "chance, for all of a batch and at either end, of a long pause: what trimming leaves where "
        "noise swells as speech does",
        SHARE,
    )
    long_padding_s: float = setting(4.0, "of it, up to", AT_LEAST_0)
    freq_masks: int = setting(2, "SpecAugment", AT_LEAST_0)
    freq_mask_bins: int = setting(12, "widest", AT_LEAST_0)
    time_masks: int = setting(2, "SpecAugment", AT_LEAST_0)
    time_mask_fraction: float = setting(0.06, "longest, of the utterance", SHARE)
    copies: int = setting(
        0,
        "with model.frozen_encoder: augmented versions of each training utterance whose states are "
        "cached beside its own; 0: of all this, freq_masks and time_masks alone reach the speech",
        AT_LEAST_0,
    )
    clipped: float = setting(
        0.0, "share of those copies whose audio was up to 16 dB too loud, and so clipped", SHARE
    )
    text_noise: float = setting(
        0.0, "share of a sentence's tokens that the text encoder gets wrong, as CTC has some", SHARE
    )


@dataclass
class Source:
    """One line of training data: a split, the tasks it serves, and how much of it."""

    split: str
    tasks: list[str] = setting([], "which of the tasks it is trained on", some_of(*TASKS))
    fraction: float = setting(1.0, "so much of the split", SHARE_ABOVE_0)
    exclude_intents: list[str] = setting([], "not the utterances with these intents")
    exclude_pairs: float = setting(0.0, "not this share of the pairs of slot values", BELOW_1)
    repeat: int = setting(1, "passes over it an epoch, where others have one", AT_LEAST_1)


@dataclass
class TrainConfig:
    """Stage 4."""

    sources: list[Source] = setting(
        [], "[{split, tasks, fraction, exclude_intents, exclude_pairs, repeat}, ...]"
    )
    init_from: str | None = setting(
        None,
        "directory of a trained experiment whose parameters to start from; if CTC is among them, "
        "flat_start_fraction and ctc_first_fraction are 0",
    )
    init_parts: list[str] = setting(
        ["all"], "which of them: all, or speech_encoder, text_encoder, decoder, ctc"
    )
    pretrained_schedule: list[list[float]] = setting(
        [],
        "[[steps, factor], ...] of the rate of what init_from or speech_pretrained gave; paper: "
        "[[500, 0], [100, 0.2], [100, 0.5], [100, 0.7]]",
    )
    whisper_factor: float = setting(1.0, "of the rate of what speech_pretrained gave", ABOVE_0)
    mlm_share: float = setting(0.15, "of the words that the task mlm masks; paper", SHARE_ABOVE_0)
    mlm_fill: str = setting(
        "zero",
        "what stands in their place: zero, or noise (white, as loud)",
        one_of("zero", "noise"),
    )
    ctm: str | None = setting(
        None,
        "directory with SPLIT.ctm, Kaldi's word alignments of a corpus; null: an experiment with "
        "CTC finds the words (atat.align)",
    )
    valid_splits: list[str] = setting(["valid"], "of validation, without what all sources exclude")
    num_valid: int = setting(
        100, "utterances of each that are looked at after every epoch", AT_LEAST_1
    )
    num_steps: int = setting(1000, "updates", AT_LEAST_1)
    num_epochs: int = setting(
        20, "parts they are divided into: validation and checkpoint after each", AT_LEAST_1
    )
    batch_frames: int = setting(2200, "feature frames a step, padding included", AT_LEAST_1)
    text_batch: int = setting(16, "sentences a step that has text", AT_LEAST_1)
    text_every: int = setting(3, "steps from one with text to the next", AT_LEAST_1)
    task_weights: dict[str, float] = setting({}, "{task: factor of its loss}, 1 where not named")
    tasks_per_utterance: str = setting(
        "all",
        "all; one: one of them, drawn by task_weights at every step",
        one_of("all", "one"),
    )
    label_smoothing: float = setting(0.1, "paper", BELOW_1)
    flat_start_fraction: float = setting(
        0.1, "of the steps, at first, with words spread evenly over the speech", SHARE
    )
    ctc_first_fraction: float = setting(
        0.25, "of the steps, at first, with speech for CTC alone, text for the decoder", SHARE
    )
    schedule: str = setting(
        "cosine",
        "cosine: AdamW, warm-up, cosine to 0; noam: Adam (paper)",
        one_of("cosine", "noam"),
    )
    learning_rate: float = setting(2.0e-3, "cosine: peak", ABOVE_0)
    warmup_fraction: float = setting(0.06, "cosine: of the steps", SHARE)
    noam_warmup_steps: int = setting(4000, "noam; paper", AT_LEAST_1)
    noam_factor: float = setting(1.0, "noam; paper", ABOVE_0)
    betas: list[float] = setting([0.9, 0.98], "of Adam", TWO_BELOW_1)
    weight_decay: float = setting(0.02, "cosine", AT_LEAST_0)
    grad_clip: float = setting(5.0, "largest norm of the gradient", ABOVE_0)
    average_checkpoints: int = setting(
        3, "the best so many epochs by validation accuracy are averaged", AT_LEAST_1
    )
    trackers: list[str] = setting(
        [], "where curves go beside TensorBoard: wandb, mlflow", any_of("wandb", "mlflow")
    )
    accum_grad: int = setting(
        1, "steps whose gradients are added up for an update; batch_frames are of one", AT_LEAST_1
    )
    use_amp: bool = setting(
        False, "mixed precision: bfloat16; float16 on a GPU without it, slower on CPUs without it"
    )
    num_processes: int = setting(
        1, "on CPUs, of a machine, that train together (docs/distributed.md)", up_to(1024)
    )
    num_gpus: int = setting(0, "of a machine, a process each; 0: CPUs", AT_LEAST_0)
    num_nodes: int = setting(1, "machines; more than one are started by torchrun", up_to(100000))
    sync: str = setting(
        "gradients",
        "what processes exchange. gradients: they share every batch, as one would train; "
        "parameters: each has batches of its own, and the models are averaged",
        one_of("gradients", "parameters"),
    )
    sync_every: int = setting(5, "parameters: steps from one average to the next", AT_LEAST_1)
    num_threads: int = setting(
        1, "of a training process; more than idle cores makes it collapse", up_to(1024)
    )
    num_workers: int = setting(1, "processes that make the batches of one", AT_LEAST_0)

    @property
    def spoken_splits(self) -> list[str]:
        """Splits whose speech is trained on, each once."""
        return list(dict.fromkeys(s.split for s in self.sources if set(s.tasks) - {"nlu"}))


@dataclass
class DecodeRun:
    """One decoding: which split, which task token, and which constraint."""

    split: str = setting("test", "which is decoded")
    source: str = setting(
        "speech", "speech, text, or hypotheses: the words that the run `input` recognised"
    )
    input: str | None = setting(None, "of hypotheses: another run")
    tagger: str | None = setting(None, "crf instead of the model, for text and hypotheses")
    recognizer: str | None = setting(
        None, "of asr: Whisper as published (as model.speech_pretrained) instead of the model"
    )
    task: str = setting("slu", "the task token", one_of(*TASKS))
    constraint: str = setting("none", "of constrained decoding", one_of(*CONSTRAINTS))
    ctc_weight: float = setting(0.0, "of CTC's prefix scores, where the model has CTC", SHARE)
    beam: int | None = setting(None, "null: decode.beam", AT_LEAST_1)


@dataclass
class DecodeConfig:
    """Stage 5."""

    beam: int = setting(4, "hypotheses that are followed at once; paper", up_to(10000))
    nbest: int = setting(1, "hypotheses to keep", up_to(10000))
    max_length: int = setting(80, "tokens; behind a transcript, of each part", up_to(100000))
    length_bonus: float = setting(0.0, "added to the score for every token")
    batch_frames: int = setting(20000, "feature frames decoded at once", AT_LEAST_1)
    confidence: bool = setting(False, "of speech, in runs for which the model is calibrated")
    negative_hours: float = setting(
        2.0, "of audio without meaning, on which atat.calibrate fits and measures", ABOVE_0
    )
    runs: dict[str, DecodeRun] = setting(
        {}, "name: {split, source, input, tagger, recognizer, task, constraint, ctc_weight, beam}"
    )


@dataclass
class Config:
    """All settings of a recipe or an experiment."""

    seed: int = setting(1, "all randomness follows from it")
    data: DataConfig = field(default_factory=DataConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
