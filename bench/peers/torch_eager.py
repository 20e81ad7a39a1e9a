"""PyTorch: eager with its fused optimizers; as an extra, torch.compile of model and loss."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from typing import Any

from bench.accuracy_recipe import EPOCHS, NETWORK, TARGET, Digits, Trained, rate
from bench.ready import Peer, Ready, in_blocks, threads
from bench.workloads import Array, Recurrence, Workload, perceptron


def network(w: Workload) -> tuple[Any, Any]:
    """The model from the common weights, and its fused optimizer."""
    import torch
    from torch import nn

    torch.set_num_threads(threads())
    layers: list[nn.Module] = []
    pairs = w.weights()
    for weight, bias in pairs[: len(w.filters)]:
        kernel = nn.Conv2d(weight.shape[2], weight.shape[3], 3)
        with torch.no_grad():
            kernel.weight.copy_(torch.from_numpy(weight.transpose(3, 2, 0, 1)))
            kernel.bias.copy_(torch.from_numpy(bias))
        layers += [kernel, nn.ReLU()]
    if w.filters:
        layers += [nn.MaxPool2d(2), nn.Flatten()]
        pairs = pairs[len(w.filters) :]
        first = pairs[0][0].reshape(*w.pooled, -1).transpose(2, 0, 1, 3)  # channels first
        pairs[0] = first.reshape(pairs[0][0].shape), pairs[0][1]
    for i, (weight, bias) in enumerate(pairs):
        linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.copy_(torch.from_numpy(bias))
        layers.append(linear)
        if i + 1 < len(pairs):
            layers += [nn.BatchNorm1d(len(bias))] if w.batch_norm else []
            layers += [nn.ReLU() if w.activation == "relu" else nn.Tanh()]
            layers += [nn.Dropout(w.dropout)] if w.dropout else []
    model = nn.Sequential(*layers)
    if channels_last(w):
        model = model.to(memory_format=torch.channels_last)
    kind = torch.optim.SGD if w.optimizer == "sgd" else torch.optim.Adam
    return model, kind(model.parameters(), lr=w.learning_rate, fused=True)


def recurrent(w: Recurrence) -> tuple[Any, Any]:
    """The same for an LSTM; of its two biases, which do the same, one is trained."""
    import torch
    from torch import nn

    torch.set_num_threads(threads())
    (W, b), (U, _), (head, last) = w.weights()
    lstm, linear = nn.LSTM(w.width, w.sizes[1], batch_first=True), nn.Linear(*head.shape)
    parameters = [*lstm.parameters(), *linear.parameters()]
    with torch.no_grad():
        for parameter, value in zip(parameters, (W.T, U.T, b, 0 * b, head.T, last), strict=True):
            parameter.copy_(torch.from_numpy(value))
    lstm.bias_hh_l0.requires_grad_(False)

    class Rows(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = lstm, linear

        def forward(self, x: Any) -> Any:
            return self.linear(self.lstm(x.view(-1, w.length, w.width))[0][:, -1])

    trained = [p for p in parameters if p.requires_grad]
    return Rows(), torch.optim.Adam(trained, lr=w.learning_rate, fused=True)


def channels_last(w: Workload) -> bool:
    """The order in which its convolutions are faster: on several cores the other one."""
    return bool(w.filters) and threads() == 1


def predictor(model: Any) -> Any:
    import torch

    def predict(rows: Array) -> Array:
        was = model.training
        model.eval()
        with torch.inference_mode():
            found: Array = model(torch.from_numpy(rows)).numpy()
        model.train(was)
        return found

    return in_blocks(predict)


def ready(w: Workload, compiled: bool = False) -> Ready:
    import torch
    from torch import nn

    x, y = (torch.from_numpy(a) for a in w.data())
    if w.filters:
        order = torch.channels_last if channels_last(w) else torch.contiguous_format
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=order)
    y = y.long() if w.loss == "cross_entropy" else y
    model, optimizer = recurrent(w) if isinstance(w, Recurrence) else network(w)
    loss = nn.CrossEntropyLoss() if w.loss == "cross_entropy" else nn.MSELoss()

    def forward(x: Any, y: Any) -> Any:
        return loss(model(x), y)

    forward = torch.compile(forward) if compiled else forward

    def step(rows: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        value = forward(x[rows], y[rows])
        value.backward()
        optimizer.step()
        return value

    def train(epochs: int) -> None:
        for _ in range(epochs):
            for rows in torch.randperm(w.rows).split(w.batch):
                step(rows)

    def checked(epochs: int) -> float:
        for _ in range(epochs):
            values = [step(rows).item() for rows in torch.arange(w.rows).split(w.batch)]
        return sum(values) / len(values)

    return Ready(train, checked, predictor(model))


def accuracy(digits: Digits, seed: int) -> Trained:
    import torch
    from torch import nn

    w = dataclasses.replace(NETWORK, seed=seed)
    torch.manual_seed(seed)
    model, optimizer = network(w)
    loss = nn.CrossEntropyLoss()
    x, y = torch.from_numpy(digits.x_train), torch.from_numpy(digits.y_train).long()
    steps, step, spent = -(-len(x) // w.batch) * EPOCHS, 0, 0.0
    predict, reached = predictor(model), []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        for rows in torch.randperm(len(x)).split(w.batch):
            optimizer.param_groups[0]["lr"] = rate(step, steps)
            optimizer.zero_grad(set_to_none=True)
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
            step += 1
        spent += time.perf_counter() - began
        reached.append((spent, digits.accuracy(predict)))
        if reached[-1][1] >= TARGET:
            break
    return reached


ACTIVE = {"OMP_WAIT_POLICY": "active"}  # its threads spin between operators: faster, where cores are free
EAGER = Peer("PyTorch eager, fused", "torch", ("torch",), ready, all_cores=ACTIVE, accuracy=accuracy)
COMPILED = Peer(
    "torch.compile",
    "torch",
    ("torch",),
    partial(ready, compiled=True),
    perceptron,
    all_cores=ACTIVE,
    optional=True,
)
