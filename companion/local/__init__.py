"""The embedded realtime server: OpenAI's GA protocol on CPU, with no network and no key."""
