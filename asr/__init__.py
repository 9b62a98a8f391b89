"""Rill: streaming speech recognition.

import asr

recognizer = asr.load("models/en-small")
stream = recognizer.stream()
for block in microphone:
    for event in stream.push(block, rate=48_000):
        print(event)
print(stream.flush())
"""

import os

# what is heard stays here: onnxruntime 1.29 and later report models and errors to their maker
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from asr.endpoint import EndpointRules
from asr.errors import AsrError
from asr.recognizer import Recognizer, load
from asr.results import (
    Alternative,
    Event,
    Final,
    Match,
    Partial,
    Rejected,
    Segment,
    SpeechEnd,
    SpeechStart,
    Word,
)
from asr.stream import Stream

__all__ = [
    "Alternative",
    "AsrError",
    "EndpointRules",
    "Event",
    "Final",
    "Match",
    "Partial",
    "Recognizer",
    "Rejected",
    "Segment",
    "SpeechEnd",
    "SpeechStart",
    "Stream",
    "Word",
    "load",
]

__version__ = "0.1.0"
