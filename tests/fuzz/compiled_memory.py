"""The target compiled_part, to be run with the library that is compiled with sanitizers.

Their library takes the place of libFuzzer's, so that inputs are made blindly; but of all those that
compiled_part has found to lead somewhere.
"""

from fuzz.compiled_part import target

__all__ = ["target"]
