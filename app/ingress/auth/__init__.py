"""Who asks, from where, and what they may: tokens, sessions, links, origins, proxies, audit."""
