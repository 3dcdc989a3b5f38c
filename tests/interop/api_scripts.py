"""Scripts as they are written for the reference library, for whatever it is called here."""

SECTIONS = """
from retis import EventFile, Event
from collections import Counter
import json

file = EventFile(PATH)
counts = Counter()
print(file.sorted())
for number, event in enumerate(file.events()):
    assert isinstance(event, Event)
    counts.update(event.sections())
    print(number, event)
    for name in event.sections():
        assert name in event and name.replace("_", "-") in event
        print(name, "%s" % event[name], event[name.replace("_", "-")])
    for name in ("dev", "skb-drop", "skb_drop", "nosuch"):
        try:
            print(name, event[name])
        except KeyError as error:
            print("no", name, repr(error))
    if event.dev and event.dev.rx_ifindex is not None:
        print("came through", event.dev.rx_ifindex, f"{event.dev.name:>20}")
    if event.kernel and event.kernel.stack_trace is not None:
        print(event.kernel.stack_trace, event.kernel.stack_trace.to_dict())
    print(event.netns and (event.netns.inum, event.netns.cookie))
    try:
        event.nosuch
    except AttributeError:
        print("no such attribute")
    try:
        event["dev"]["name"]
    except (KeyError, TypeError) as error:
        print(type(error))
    event_dict = event.to_dict()
    assert eval(repr(event)) == event_dict and eval(str(event_dict)) == event_dict
    print(json.dumps(event_dict, sort_keys=True))
print(sorted(counts.items()), counts["packet"])
print(len(list(file.events())), {event: 1 for event in file.events()} != {})
"""

TRACKING = """
from retis import EventReader

reader = EventReader(PATH)
assert iter(reader) is reader
startup = next(reader)
print(startup.startup.retis_version, startup.startup.clock_monotonic_offset.sec)
packets = {}
previous = None
for event in reader:
    tracking = event.skb_tracking
    if tracking is None:
        continue
    packets.setdefault(tracking.tracking_id(), []).append(event)
    print(hex(tracking.tracking_id()), tracking.match(tracking), tracking.strict_match(tracking))
    if previous:
        print(previous.match(tracking), tracking.strict_match(previous))
    if event.tracking:
        print(event.tracking.idx, event.tracking.skb.tracking_id(), event.tracking)
        print(tracking.match(event.tracking.skb), event.tracking.skb.strict_match(tracking))
    previous = tracking
for identity, seen in sorted(packets.items()):
    times = [event.common.timestamp for event in seen]
    print(f"{identity:032x}", len(seen), max(times) - min(times))
    print([event["common"].task and event["common"].task.comm for event in seen])
try:
    previous and previous.match(3) or (previous and previous.match(None))
except TypeError:
    print("TypeError")
try:
    next(reader)
except StopIteration:
    print("at the end", list(reader))
"""

PACKETS = """
from retis import EventReader
import struct

for event in EventReader(PATH):
    if "packet" not in event:
        continue
    packet = event["packet"]
    data = bytes(packet.data)
    print(packet.len, packet.capture_len, len(data), data.hex(), packet.data, repr(packet.data))
    print(sorted(packet.to_dict().items()))
    for convert in (packet.to_scapy, packet.data.to_scapy):
        try:
            ether = convert()
        except struct.error as error:
            print("scapy:", error)
            continue
        print(type(ether), ether.summary(), bytes(ether) == data)
"""

NETFILTER_AND_OVS = """
from retis import EventFile

for event in EventFile(path=PATH).events():
    if event.ct is not None:
        state, base = event.ct.state, event.ct.base
        print(state, int(state), state == state.Established, state != state.RelatedReply,
              state in (state.New, state.Untracked), f"{state}", state == 1)
        print(base.zone_id, base.zone_dir, base.zone_dir == base.zone_dir.Default, base.mark)
        for tuple_ in (base.orig, base.reply):
            print(tuple_.ip.src, tuple_.ip.dst, tuple_.ip.version == tuple_.ip.version.V6)
            proto = tuple_.proto
            print(type(proto).__name__, isinstance(proto, proto.Udp))
            if hasattr(proto, "tcp") or hasattr(proto, "udp"):
                ports = proto.tcp if isinstance(proto, proto.Tcp) else proto.udp
                print(ports.sport, ports.dport)
            try:
                print(proto.icmp.id)
            except AttributeError:
                print("not ICMP")
        if event.ct.parent:
            parent = event.ct.parent
            print(parent.proto_state, parent.labels and parent.labels.hi, sorted(eval(str(parent))))
        print(event.ct)
    if event.nft:
        print(event.nft.verdict, event.nft.policy, event.nft.rule_handle, event.nft)
    if event.ovs:
        kind = event.ovs
        print(kind, [name for name in ("upcall", "flow_lookup", "action_execute", "recv_upcall")
                     if hasattr(kind, name)], isinstance(kind, kind.Operation))
        if isinstance(kind, kind.Upcall):
            print(kind.upcall.cmd, kind.upcall.cpu, sorted(kind.upcall.to_dict()))
        elif hasattr(kind, "flow_lookup"):
            print(kind.flow_lookup.ufid.show(), kind.flow_lookup.ufid, kind.flow_lookup.ofpflows)
        elif hasattr(kind, "action_execute"):
            execute = kind.action_execute
            action = execute.action
            print(execute.recirc_id, execute.queue_id, action and type(action).__name__)
            if action and isinstance(action, action.Output):
                print(action.output.port)
            elif action and hasattr(action, "ct"):
                nat = action.ct.nat
                print(action.ct.zone_id, nat and nat.dir, nat and nat.min_port)
                print(nat and nat.dir and nat.dir == nat.dir.Src)
        elif isinstance(kind, kind.Operation):
            print(kind.flow_operation.op_type, eval(repr(kind))["op_type"])
"""

SERIES = """
from retis import EventFile, EventSeries, SeriesReader
import statistics

file = EventFile(PATH)
assert file.sorted()
lengths = []
for series in file.series():
    assert isinstance(series, EventSeries)
    lengths.append(len(series))
    print(series, repr(series), bool(series))
    first = next(series)
    print(first.common.timestamp)
    for event in series:
        print(event.common.timestamp - first.common.timestamp, event)
    print(len(list(series)), len(list(series)), len(series))
print(statistics.mean(lengths), len(list(SeriesReader(PATH))))
reader = SeriesReader(PATH)
next(reader)
print(sum(1 for series in reader for event in series if event.startup), list(reader))
"""

FAILURES = """
from retis import EventFile, EventReader, SeriesReader
import pathlib

def attempt(name, call):
    try:
        print(name, len(list(call())))
    except (RuntimeError, TypeError) as error:
        print(name, "fails:", "RuntimeError" if isinstance(error, RuntimeError) else "TypeError")

print(EventFile(pathlib.Path(PATH)).sorted())
for path in (PATH, PATH + ".nosuch", "/", "/dev/null", "/etc/hostname", "", 3, None):
    for opener in (EventReader, SeriesReader, EventReader.with_rotation,
                   lambda path: EventFile(path).events(), lambda path: EventFile(path).series(),
                   lambda path: EventFile.with_rotation(path).events()):
        attempt(path and str(path).split("/")[-1], lambda: opener(path))
attempt("no argument", EventFile)
"""
