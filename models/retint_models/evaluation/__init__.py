"""How networks are judged: metrics, baselines that say what a number is worth, contact sheets."""
