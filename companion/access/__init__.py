"""Who may come in: enrolled devices and their keys, claims, plain tokens, and the door that asks."""
