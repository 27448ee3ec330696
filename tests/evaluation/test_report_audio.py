"""Recordings in the report: a part of one, as Kaldi's `segments` name it."""

import numpy as np
import pytest
import soundfile

from atat.data import audio_segment
from atat.evaluation.report_audio import Recordings


@pytest.mark.supports("Kaldi files", "segments in the report", "the part is heard")
def test_a_part_of_a_recording_is_a_sound_of_its_length_or_a_link_that_names_it(tmp_path):
    call = tmp_path / "a call.flac"
    soundfile.write(call, 0.1 * np.sin(np.arange(80000) / 5), 16000)
    part = audio_segment.join(str(call), "1", "1.5")
    whole, short = (Recordings(tmp_path).address(p) for p in (str(call), part))
    assert short.startswith("data:audio/mpeg;base64,") and len(short) < 0.3 * len(whole)
    assert Recordings(tmp_path, max_bytes=0).address(part) == "a%20call.flac#t=1,1.5"
    assert Recordings(tmp_path, max_bytes=0).address(str(call)) == "a%20call.flac"
