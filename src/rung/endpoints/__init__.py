"""Models behind an OpenAI-compatible API: asked over the network, answered from the cache, charged in a ledger."""
