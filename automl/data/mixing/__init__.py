"""Images of a batch mixed with each other: CutMix, ClassMix, copy-paste and mixup.

A mix is applied to a global batch or not, by its own probability. Then each sample gets a partner
from the global batch, and something of it. Several mixes of one batch follow each other, in the
order of `MIXES`, and each mixes what the one before it made, of partners, too.
"""
