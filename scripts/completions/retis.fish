# Completion for fish, loaded at the first Tab after "retis".
# The script is retis's own, so that this file never gets out of date.
retis sh-complete --shell fish 2>/dev/null | source
