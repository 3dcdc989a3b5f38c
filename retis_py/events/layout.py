"""The layout in which retis and we write events: sections in a fixed order, no white space.

JSON allows any other, and such lines are read too; but a line in this layout is taken apart by one
regular expression, five times faster than by decoding it. What is found is JSON that was not
looked at: decode it before use, and decode the whole line where that fails. A string that holds a
brace makes a part end too early: such a part is no JSON, so that it cannot go unnoticed.
"""

import re

_OBJECT = r"\{[^}]*\}"
_PART = r'"[^{}]*\{[^{}]*\}'  # of skb: only whole ones, or what follows skb could be taken for one
# Alternatives with nothing in the end, (x|), are taken faster than what is optional, (x)?.
_EVENT = (
    r'\{"common":\{"timestamp":([1-9][0-9]{0,18})'
    rf'((?:,"smp_id":[0-9]+|)(?:,"task":{_OBJECT}|)\}}'
    r'(?:,"kernel":\{"symbol":"[^"]*","probe_type":"[^"]*"|))'
    # The kernel probe ends in a quote, and needs its brace; where there is none, in a brace.
    r'((?<="),"stack_trace":\[[^\]]*\]|)'
    rf'((?:(?<=[\]"])\}}|(?<=\}}))(?:,"userspace":{_OBJECT}|)'
    rf'(?:,"tracking":\{{"skb":{_OBJECT}[^}}]*\}}|)'
    rf'(?:,"skb-tracking":{_OBJECT}|)(?:,"skb-drop":{_OBJECT}|))'
    rf'(,"packet":{_OBJECT}|)'
    rf'(,"skb":\{{(?:{_PART}(?:,{_PART})*|)\}}|)'
    rf'((?:,"netns":{_OBJECT}|)(?:,"dev":{_OBJECT}|))'
)

EVENT_LINE = re.compile(rf'{_EVENT}(\}}|,"[^\n]*)\n')
"""Finds lines of a file in this layout. The groups are the event's parts:

1. the timestamp's digits;
2. CPU, task and kernel probe, up to what may follow the probe's type;
3. the stack trace;
4. what identifies the packet: from the end of the probe on, ``userspace``, ``tracking``,
   ``skb-tracking``, ``skb-drop``;
5. ``packet``;
6. ``skb``;
7. ``netns`` and ``dev``;
8. all other sections, and the event's end.
"""

SERIES_EVENT = re.compile(rf'([\[,]){_EVENT}(\}}|,"[^\n]*?\}})(\]?)\n')
"""The same for the events of a sorted file, each on a line of its own by ``split_series``.

Before and after the groups of an event is one for what stands around it in the series.
"""

_BETWEEN = '},{"common":{'


def split_series(lines: str) -> str:
    """Put each event of a sorted file's lines on a line of its own, the comma at its start.

    The sequence looked for cannot be inside a string, where its quotes would be escaped.
    """
    return lines.replace(_BETWEEN, '}\n,{"common":{')
