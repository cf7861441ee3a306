"""Doing it, through the interfaces: `operations` are the verbs, the other rooms are what they are made of."""
