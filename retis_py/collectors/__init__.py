"""The collectors: which kernel types each feeds on, what it needs, which hook it adds."""
