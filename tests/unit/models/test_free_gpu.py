import multiprocessing

from approxgrad.models.free_gpu import free_gpu


def hold(folder, taken, leave):
    taken.put(free_gpu(["a", "b"], folder))
    leave.wait(30)


def test_processes_spread_over_gpus_and_give_them_back(tmp_path):
    context = multiprocessing.get_context("fork")
    taken, leave = context.Queue(), context.Event()
    others = []
    for _ in range(3):
        others.append(context.Process(target=hold, args=(tmp_path, taken, leave)))
        others[-1].start()
    assert sorted(taken.get(timeout=30) for _ in others) == [0, 0, 1]
    # The second place of the second GPU is the next one.
    fourth = context.Process(target=hold, args=(tmp_path, taken, leave))
    fourth.start()
    assert taken.get(timeout=30) == 1
    leave.set()
    for process in (*others, fourth):
        process.join()
    last = context.Process(target=hold, args=(tmp_path, taken, leave))
    last.start()
    assert taken.get(timeout=30) == 0
    last.join()
