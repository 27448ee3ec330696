"""How many threads NumPy's products of matrices take."""


def limit(num_threads: int) -> None:
    """Of the whole process, as torch.set_num_threads is.

    A search multiplies small matrices, where a second thread waits more than it works: on two cores
    it doubled the CPU time of an utterance (docs/log.md).
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(num_threads, user_api="blas")
