"""What is kept of the audio that clients of the Wyoming protocol send."""

import pytest

pytest.importorskip("wyoming")

from wyoming.audio import AudioChunk

from atat.serving import wyoming_input


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ((16000, 2, 1), "the audio is longer than 2 s, which is the limit"),
        ((192_000, 4, 8), "the audio has more than 8 MiB, which is the limit; send fewer"),
    ],
)
def test_of_too_much_audio_none_is_kept(of, reason):
    audio, most = wyoming_input.Audio(*of), 0
    for number in range(80):
        audio.add(AudioChunk(*of, bytes(2**17)), 2.0)
        most = max(most, len(audio.kept))
        assert (audio.refusal(2.0) is None) == (len(audio.kept) == (number + 1) * 2**17)
    assert audio.refusal(2.0).startswith(reason)
    assert audio.num_bytes == 80 * 2**17 and most <= 8 * 2**20 and not audio.kept
