"""Profiles: named sets of command line arguments, kept in YAML files.

The format is that of retis 1.7, so that files can be used by both (``docs/profiles.md``)::

    version: 1.0
    name: tcp
    about: What the profile is for
    collect:                        # or pcap
      - name: Kernels with IPv6     # the first entry whose conditions all hold is used
        when:
          - type: version
            version: ">=5.14, <7"
          - type: symbol
            name: tcp_v6_rcv
            exists: true
        args:
          probe: [kprobe:tcp_v4_rcv, kprobe:tcp_v6_rcv]
          stack: ~                  # an option without a value

A file may hold several documents, a profile each.
"""

from retis_py.profiles.conditions import KernelFacts, RunningKernel
from retis_py.profiles.lookup import find_profile, list_profiles
from retis_py.profiles.schema import Argument, Profile, Section, Variant, read_profiles

__all__ = [
    "Argument",
    "KernelFacts",
    "Profile",
    "RunningKernel",
    "Section",
    "Variant",
    "find_profile",
    "list_profiles",
    "read_profiles",
]
