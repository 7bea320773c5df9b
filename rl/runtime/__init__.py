"""Where things run: placement, actors, published weights, the parity gate."""
