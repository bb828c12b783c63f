"""What a controller, a gateway, a recorder or a robot's driver needs: numpy, pyzmq and msgspec, nothing else.

with Stream("ipc:///run/edged/pick/action", "pick/action", timeout_ms=100) as stream:
    while True:
        match stream.latest():
            case Message(kind=Kind.ACTION) as message: ...   # newer than the last; until stream.good_until(message)
            case Message() as hold: ...                      # no command, and why; hold.stop = stop now
            case Lost() as lost: ...                         # nothing usable for timeout_ms: stop
            case None: ...                                   # nothing new yet

`Player` makes commands at any rate of what a stream gives. Sensors and cameras are sent by `SensorSender` and
`FrameSender`. `TriggerSender` tells an inspection of parts, `PartResults` has what each of them came to.
"""

from edged.client.describe import describe
from edged.client.masks import masks_of, measures_of
from edged.client.part_result import PartResult
from edged.client.part_results import PartResults
from edged.client.player import Command, Player
from edged.client.request import RequestError, request
from edged.client.sender import FrameSender, SensorSender
from edged.client.stream import Lost, Stream
from edged.client.subscription import Subscription
from edged.client.track import StreamHealth
from edged.client.trigger import TriggerSender
from edged.wire import Flag, Kind, Message
from edged.wire.sockets import CurveKeys

__all__ = [
    "Command",
    "CurveKeys",
    "Flag",
    "FrameSender",
    "Kind",
    "Lost",
    "Message",
    "PartResult",
    "PartResults",
    "Player",
    "RequestError",
    "SensorSender",
    "Stream",
    "StreamHealth",
    "Subscription",
    "TriggerSender",
    "describe",
    "masks_of",
    "measures_of",
    "request",
]
