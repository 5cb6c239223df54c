#!/usr/bin/env python3
"""Writes zip.pth and legacy.pth: what mmengine's runner saves beside the weights, around one small tensor.

    make_checkpoint.py FOLDER      needs torch, numpy and mmengine (of which only its HistoryBuffer is used)
"""
import collections, datetime, sys
import numpy as np, torch
from mmengine.logging.history_buffer import HistoryBuffer

history = HistoryBuffer([1.0, 2.0], [1, 1])
history.update(3.0)
state = collections.OrderedDict(w=torch.arange(6.0))
averaged = collections.OrderedDict([("steps", torch.tensor(3)), ("module.w", torch.arange(6.0) + 1)])
meta = dict(epoch=1, iter=80000, time="x", at=datetime.datetime(2026, 1, 2), queue=collections.deque([1, 2], maxlen=3))
hub = dict(log_scalars={"train/loss": history}, runtime_info={"cfg": "x=1", "loss": np.float64(0.5)}, resumed_keys={})
checkpoint = dict(meta=meta, state_dict=state, ema_state_dict=averaged, message_hub=hub, optimizer={}, param_schedulers=[])
for name, zipped in (("zip", True), ("legacy", False)):
    torch.save(checkpoint, f"{sys.argv[1]}/{name}.pth", _use_new_zipfile_serialization=zipped)
