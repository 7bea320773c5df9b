"""vLLM behind the `Engine` protocol. Nothing outside this folder imports vllm."""
