"""pressel-fleet media: what a card says at a Raspberry Pi's first start."""
