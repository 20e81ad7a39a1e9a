"""One file per library, each with the settings in which it is fastest."""

from __future__ import annotations

from bench.peers import jax_scan, keras_jax, numpy_forward, ours, scikit, torch_eager
from bench.ready import Peer

SUBJECTS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        ours.OURS,
        ours.REFERENCE,
        torch_eager.EAGER,
        torch_eager.COMPILED,
        jax_scan.JAX,
        scikit.SCIKIT,
        keras_jax.KERAS,
        numpy_forward.NUMPY,
    )
}
OURS = ours.OURS.name
REFERENCE = ours.REFERENCE.name
EAGER = torch_eager.EAGER.name
NUMPY = numpy_forward.NUMPY.name
RIVALS = tuple(name for name in SUBJECTS if name not in (OURS, REFERENCE, NUMPY))
