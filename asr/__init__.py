"""Rill: streaming speech recognition.

import asr

recognizer = asr.load("models/en-small")
stream = recognizer.stream()
for block in microphone:
    for event in stream.push(block, rate=48_000):
        print(event)
print(stream.flush())
"""

from asr.endpoint import EndpointRules
from asr.errors import AsrError
from asr.recognizer import Recognizer, Stream, load
from asr.results import Event, Final, Partial, Segment, SpeechEnd, SpeechStart, Word

__all__ = [
    "AsrError",
    "EndpointRules",
    "Event",
    "Final",
    "Partial",
    "Recognizer",
    "Segment",
    "SpeechEnd",
    "SpeechStart",
    "Stream",
    "Word",
    "load",
]

__version__ = "0.1.0"
