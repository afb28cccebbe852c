"""The times of path choice, in nanoseconds.

The field's are in https://pkg.go.dev/tailscale.com/wgengine/magicsock; ours are shorter where a live stream hangs on
them.
"""

from __future__ import annotations

from typing import Final

from ghostwire.engine import MILLISECOND, SECOND

SESSION: Final = 45 * SECOND
"""A peer with which no data moved for this long is asleep."""
TRUST: Final = 6_500 * MILLISECOND
"""How long a quiet path is trusted after the last pong."""
POLL, BUSY_POLL = SECOND, 500 * MILLISECOND
"""Time between two looks at what an awake peer's data did: in general, and where some left since the last."""
TOGETHER: Final = 100 * MILLISECOND
"""What is due within so long is done for all peers at one moment."""
HEARTBEAT, BUSY_HEARTBEAT = 3 * SECOND, SECOND
"""Time between two pings over the path in use: in general, and while data waits for an answer."""
BUSY: Final = 2 * SECOND
"""Data that left so long ago still counts as leaving."""
SUSPICION: Final = 500 * MILLISECOND
"""Data that waits for an answer for this long, or two round trips, makes a ping."""
PROMPT: Final = 100 * MILLISECOND
"""What is sent so soon after data came answers it; what is sent later, or followed by more, waits for an answer."""
GRACE, LONGEST_GRACE = 100 * MILLISECOND, 500 * MILLISECOND
"""How long a pong may take: three times the path's latency, at least the first and at most the second more than it."""
LOST: Final = 2 * SECOND
"""Trust that was not restored for this long and two round trips, while data leaves, is gone."""
AGAIN: Final = 500 * MILLISECOND
"""Time between two pings over a path in doubt, and between the two handshakes of a carriage test."""
LATELY: Final = 600 * SECOND
"""A way that answered so long ago may come back."""
RECENT: Final = 250 * MILLISECOND
"""A candidate pinged so recently is not pinged again on another's word."""
CALL_GAP: Final = 1_100 * MILLISECOND
"""Time between two calls: a peer takes no more than one a second, and they may come closer."""
LATELY_CALLED: Final = 5 * SECOND
"""Who was called so long ago knows where this node is, and lets its pings in."""
LOOK, NEAR = 60 * SECOND, 5 * MILLISECOND
"""While a direct path is in use: time between two looks for a better one, and the latency that is good enough."""
UPGRADE: Final = 25 * SECOND
"""The same where candidates of a better transport are known."""
CARRIAGE: Final = SECOND
"""Data unanswered for this long and two round trips, though pongs come, makes a carriage test; so long it may take."""
BACKED: Final = 2 * SECOND
"""How much longer a path is on probation that takes over from one which works."""
INSISTENCE: Final = 500 * MILLISECOND
"""A carriage test is only made where more data was sent so much later: whoever waits for an answer repeats himself."""
TEST_GAP, LONGEST_TEST_GAP = 5 * SECOND, 120 * SECOND
"""Time between two carriage tests of a path; it doubles, until there was no reason for one for the longest."""
RELAPSE: Final = 15 * SECOND
"""A path over which data is unanswered again so soon after the relay helped it is barred."""
BAR, LONGEST_BAR = 30 * SECOND, 600 * SECOND
"""How long a path that failed a carriage test is not used; it doubles."""
STRAGGLERS: Final = SECOND
"""A path was in use for so long until packets over the relay say anything against it."""
LEARNED: Final = 310 * SECOND
"""How long a candidate that nobody advertises is kept after it was last heard of or answered."""
PING_TIMEOUT: Final = 5 * SECOND
"""Pongs that come later count for nothing."""
