"""The graph: nodes, what they mean, how they are checked and printed. Nothing here computes."""
