"""What attributions are compared with besides others: names in the column ``reference``, and words for readers."""

from __future__ import annotations

TRUTH = "truth"
"""The true effects as they are, signed and not centred, as the thesis does with every method."""

MATCHED = "matched truth"
"""What the attribution of a method would be if the model were the truth."""

TRUTHS = {TRUTH: "the true effects", MATCHED: "the matched truth"}
"""Both with words for them."""
