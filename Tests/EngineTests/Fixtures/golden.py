#!/usr/bin/env python3
"""Writes golden.json: weights, inputs and outputs of the model, computed by NumPy in double precision.

An implementation of its own: it shares nothing with the engine but the description of the model
(embeddings + numbers -> recurrent state; state + features -> SiLU layer; layer + features -> heads;
zero-inflated log-normal value per bin; hazards per bin). Run it again after the model changes:

    python3 golden.py > golden.json
"""

import json

import numpy as np

UNITS, HIDDEN, TYPE, CATEGORY, CROSS = 16, 16, 2, 3, 2
TYPES, BUCKETS, NUMBERS, FEATURES, BINS, EVENTS = 16, 8, 12, 64, 3, 4
INPUT = 32  # 2 + 3 + 2 + 12, padded with zeros to a multiple of 16
HEADS = [("clv", "value"), ("purchase", "hazard"), ("churn", "hazard")]
OUTPUTS = 16  # 3 bins x (3 + 1 + 1), padded to a multiple of 16
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(kind, w, x, h, c):
    if kind == "gru":
        a = x @ w["recurrent.weight"] + w["recurrent.bias"]
        b = h @ w["recurrent.state_weight"] + w["recurrent.state_bias"]
        (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
        r, z = sigmoid(ar + br), sigmoid(az + bz)
        return (1 - z) * np.tanh(an + r * bn) + z * h, c
    a = np.concatenate([x, h]) @ w["recurrent.weight"] + w["recurrent.bias"]
    if kind == "rnn":
        return np.tanh(a), c
    i, f, g, o = np.split(a, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def case(kind, seed):
    rng = np.random.default_rng(seed)

    def numbers(*shape, scale=1.0):
        return np.round(rng.normal(0, scale, shape), 4)

    width = GATES[kind] * UNITS
    w = {
        "encoder.type_embedding": numbers(TYPES, TYPE),
        "encoder.category_embedding": numbers(BUCKETS, CATEGORY),
        "encoder.cross_embedding": numbers(BUCKETS, CROSS),
        "recurrent.weight": numbers(INPUT if kind == "gru" else INPUT + UNITS, width, scale=0.25),
        "recurrent.bias": numbers(width, scale=0.3),
        "hidden.weight": numbers(UNITS + FEATURES, HIDDEN, scale=0.15),
        "hidden.bias": numbers(HIDDEN, scale=0.3),
        "heads.weight": numbers(HIDDEN + FEATURES, OUTPUTS, scale=0.1),
        "heads.bias": numbers(OUTPUTS, scale=0.5),
    }
    if kind == "gru":
        w["recurrent.state_weight"] = numbers(UNITS, width, scale=0.25)
        w["recurrent.state_bias"] = numbers(width, scale=0.3)
    rows = []
    centre = np.array([3.0, 3.5, 4.0])
    for _ in range(3):
        h, c = np.round(np.tanh(numbers(UNITS)), 4), numbers(UNITS)
        start = np.concatenate([h, c]) if kind == "lstm" else h
        indices = [[int(rng.integers(TYPES)), int(rng.integers(BUCKETS)), int(rng.integers(BUCKETS))] for _ in range(EVENTS)]
        values = numbers(EVENTS, NUMBERS)
        states = []
        for (t, k, x), v in zip(indices, values):
            encoded = np.concatenate([
                w["encoder.type_embedding"][t], w["encoder.category_embedding"][k], w["encoder.cross_embedding"][x], v])
            encoded = np.concatenate([encoded, np.zeros(INPUT - len(encoded))])
            h, c = step(kind, w, encoded, h, c)
            states.append(np.concatenate([h, c]) if kind == "lstm" else h)
        features = numbers(FEATURES)
        raw = np.concatenate([h, features]) @ w["hidden.weight"] + w["hidden.bias"]
        hidden = raw * sigmoid(raw)
        out = np.concatenate([hidden, features]) @ w["heads.weight"] + w["heads.bias"]
        predictions, at = [], 0
        for _, head in HEADS:
            for b in range(BINS):
                if head == "value":
                    sigma = min(3.0, np.log1p(np.exp(out[at + 2])) + 0.05)
                    predictions.append(sigmoid(out[at]) * np.exp(centre[b] + out[at + 1] + sigma**2 / 2))
                    at += 3
                else:
                    predictions.append(sigmoid(out[at]))
                    at += 1
        money = np.cumsum(predictions[:BINS])
        purchase = 1 - np.cumprod(1 - np.array(predictions[BINS:2 * BINS]))
        silence = np.cumprod(1 - np.array(predictions[2 * BINS:]))
        rows.append({
            "initialState": start, "indices": indices, "numerics": values, "states": states, "features": features,
            "outputs": out, "predictions": predictions, "clv": money, "purchase": purchase, "churn": silence})
    return {"recurrent": kind, "weights": w, "centre": centre, "rows": rows}


def plain(x):
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, np.ndarray):
        return plain(x.tolist())
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return round(float(x), 9) if isinstance(x, (float, np.floating)) else x


print(json.dumps({"cases": [plain(case(kind, i)) for i, kind in enumerate(["lstm", "gru", "rnn"])]}, separators=(",", ":")))
