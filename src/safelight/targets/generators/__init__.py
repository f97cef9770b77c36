"""Generators and discriminators, written from their papers for a CPU without custom kernels.

Images are [n, channels, resolution, resolution], about [-1, 1]; everything is differentiable in
its inputs and weights, twice where a gradient penalty needs it. Parameter names are those of the
published state dicts, so that the weights of a published network load by name.
"""
