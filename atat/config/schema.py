"""Settings: typed, with a comment a field; a recipe's YAML says only what differs.

The reference manual of every key, with its unit and meaning, is `conf/base.yaml`; this file gives
their types. A resolved configuration is saved in the experiment, and later stages read that.
"""

from dataclasses import dataclass, field


@dataclass
class DataConfig:
    """Stage 1: what is said, how often, and by whom."""

    grammar: str | None = None
    num_train: int = 0
    num_train_text: int = 0
    num_valid: int = 0
    num_test: int = 0
    voices: dict[str, dict[str, float]] = field(default_factory=dict)
    num_pseudo_speakers: int = 1
    rate_range: list[float] = field(default_factory=lambda: [1.0, 1.0])
    pitch_range: list[float] = field(default_factory=lambda: [1.0, 1.0])
    sayings: dict[str, list[str]] = field(default_factory=dict)
    pauses: float = 0.0
    fillers: float = 0.0
    part: str | None = None
    num_folds: int = 5
    max_missing: float = 0.01
    unsupported: bool = True
    domains: list[str] = field(default_factory=list)
    renderings: int = 1
    low_resource: float = 0.1
    num_spoken: int = 0
    num_asr: int = 0
    num_foreign: int = 0
    asr_texts: str | None = None
    asr_corpus: str | None = None
    recorded: str | None = None
    stand_in: bool = False
    cache: str = "cache/synth"


@dataclass
class FeaturesConfig:
    kind: str = "kaldi"
    num_mel_bins: int = 80
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    sample_rate_hz: int = 16000
    min_duration_s: float = 0.1
    max_duration_s: float = 30.0
    trim_db: float | None = None
    level_db: float | None = None
    cmvn_splits: list[str] = field(default_factory=lambda: ["train"])
    allow_drops: bool = False


@dataclass
class TokenizerConfig:
    vocab_size: int = 500
    splits: list[str] = field(default_factory=lambda: ["train", "train_text"])


@dataclass
class ModelConfig:
    width: int = 144
    num_heads: int = 4
    dropout: float = 0.1
    front: str = "stride"
    front_channels: int = 16
    subsampling: int = 8
    utterance_mean: bool = False
    speech_encoder: str = "conformer"
    speech_pretrained: str | None = None
    speech_frozen_layers: int = 0
    speech_base: str | None = None
    speech_base_width: int = 384
    speech_base_layers: int = 4
    speech_layers: int = 4
    speech_ffn: int = 432
    conformer_kernel: int = 15
    text_encoder: str = "transformer"
    text_layers: int = 2
    text_ffn: int = 432
    text_pretrained: str | None = None
    text_frozen: bool = False
    decoder: str = "transformer"
    decoder_layers: int = 2
    decoder_ffn: int = 576
    ctc_weight: float = 1.0
    bridge: bool = True
    heard_share: float = 0.0


@dataclass
class AugmentConfig:
    enabled: bool = True
    mild_fraction: float = 0.15
    tempo: list[float] = field(default_factory=lambda: [0.7, 1.1])
    sway: float = 0.6
    warp: list[float] = field(default_factory=lambda: [0.85, 1.2])
    equaliser_db: float = 6.0
    smooth: float = 0.0
    band_limit: float = 0.2
    reverb: float = 0.3
    noise: float = 0.7
    snr_db: list[float] = field(default_factory=lambda: [5.0, 40.0])
    knocks: float = 0.2
    babble: float = 0.15
    babble_db: list[float] = field(default_factory=lambda: [8.0, 25.0])
    babble_voices: int = 1
    padding_s: float = 0.5
    long_padding: float = 0.0
    long_padding_s: float = 4.0
    freq_masks: int = 2
    freq_mask_bins: int = 12
    time_masks: int = 2
    time_mask_fraction: float = 0.06
    copies: int = 0
    clipped: float = 0.0


@dataclass
class Source:
    """One line of training data: a split, the tasks it serves, and how much of it."""

    split: str
    tasks: list[str]
    fraction: float = 1.0
    exclude_intents: list[str] = field(default_factory=list)
    exclude_pairs: float = 0.0
    repeat: int = 1


@dataclass
class TrainConfig:
    sources: list[Source] = field(default_factory=list)
    init_from: str | None = None
    init_parts: list[str] = field(default_factory=lambda: ["all"])
    pretrained_schedule: list[list[float]] = field(default_factory=list)
    mlm_share: float = 0.15
    mlm_fill: str = "zero"
    ctm: str | None = None
    valid_splits: list[str] = field(default_factory=lambda: ["valid"])
    num_valid: int = 100
    num_steps: int = 1000
    num_epochs: int = 20
    batch_frames: int = 2200
    text_batch: int = 16
    text_every: int = 3
    task_weights: dict[str, float] = field(default_factory=dict)
    tasks_per_utterance: str = "all"
    label_smoothing: float = 0.1
    flat_start_fraction: float = 0.1
    ctc_first_fraction: float = 0.25
    schedule: str = "cosine"
    learning_rate: float = 2.0e-3
    warmup_fraction: float = 0.06
    noam_warmup_steps: int = 4000
    noam_factor: float = 1.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    weight_decay: float = 0.02
    grad_clip: float = 5.0
    average_checkpoints: int = 3
    num_processes: int = 1
    sync_every: int = 5
    num_threads: int = 1
    num_workers: int = 1
    num_gpus: int = 0

    @property
    def spoken_splits(self) -> list[str]:
        """Splits whose speech is trained on, each once."""
        return list(dict.fromkeys(s.split for s in self.sources if set(s.tasks) - {"nlu"}))


@dataclass
class DecodeRun:
    """One decoding: which split, which task token, and what may come out."""

    split: str = "test"
    source: str = "speech"
    input: str | None = None
    tagger: str | None = None
    task: str = "slu"
    constraint: str = "none"
    ctc_weight: float = 0.0
    beam: int | None = None


@dataclass
class DecodeConfig:
    beam: int = 4
    nbest: int = 1
    max_length: int = 80
    length_bonus: float = 0.0
    batch_frames: int = 20000
    negative_hours: float = 2.0
    runs: dict[str, DecodeRun] = field(default_factory=dict)


@dataclass
class Config:
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
