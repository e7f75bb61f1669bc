"""Hand-overs: what Retint made of a batch as BagIt bags, which a museum's own systems take in."""
