#include "common/thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "common/watch.h"

namespace hfd {
namespace {

// Work that is being done; lives on its caller's stack and is known to the pool until the caller has found nothing left in it.
struct Job {
  SharedWork work;
  int helpers;                // who may join
  int joined = 0;             // helpers that began
  std::atomic<int> busy{0};   // helpers at work; who takes it to 0 does not look at the job again
};

// Operations follow each other closely: who has just helped looks out for the next for a moment before it sleeps.
constexpr std::chrono::microseconds kAwake{20};
// A helper that has begun is on its last chunk when the caller finds nothing left.
constexpr std::chrono::microseconds kLastChunk{100};

class ThreadPool {
 public:
  void share(SharedWork work, int helpers) {
    Job job;
    job.work = work;
    job.helpers = helpers;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      start_threads(helpers);
      open_.push_back(&job);
      offers_.fetch_add(1, std::memory_order_release);
    }
    helpers == 1 ? offered_.notify_one() : offered_.notify_all();
    work.run(work.context, 0);
    const auto all_ended = [&] { return job.busy.load(std::memory_order_acquire) == 0; };
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      open_.erase(std::find(open_.begin(), open_.end(), &job));
    }
    if (watch(kLastChunk, all_ended)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    ended_.wait(lock, all_ended);
  }

 private:
  // As many as the largest call asked for. A system that gives no more threads leaves more to the caller, who needs no helper.
  void start_threads(int helpers) {
    sigset_t every, before;
    if (threads_ >= helpers) return;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);  // signals are for the program's own threads
    try {
      for (; threads_ < helpers; ++threads_) std::thread([this] { help(); }).detach();
    } catch (const std::system_error&) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  [[noreturn]] void help() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      offered_.wait(lock, [&] { return (job = joinable()) != nullptr; });
      do {
        do_part(*job, lock);
      } while ((job = joinable()) != nullptr);
      const unsigned seen = offers_.load(std::memory_order_relaxed);
      lock.unlock();
      watch(kAwake, [&] { return offers_.load(std::memory_order_acquire) != seen; });
      lock.lock();
    }
  }

  Job* joinable() {
    for (Job* job : open_)
      if (job->joined < job->helpers) return job;
    return nullptr;
  }

  void do_part(Job& job, std::unique_lock<std::mutex>& lock) {
    const int worker = ++job.joined;
    job.busy.fetch_add(1, std::memory_order_relaxed);
    lock.unlock();
    job.work.run(job.work.context, worker);
    lock.lock();
    if (job.busy.fetch_sub(1, std::memory_order_release) == 1) ended_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable offered_, ended_;
  std::vector<Job*> open_;
  std::atomic<unsigned> offers_{0};
  int threads_ = 0;
};

// Made when the module is loaded and never destroyed: its threads sleep in it until the process ends.
alignas(ThreadPool) unsigned char memory[sizeof(ThreadPool)];

ThreadPool* made_anew() { return new (memory) ThreadPool; }

ThreadPool* const pool = [] {
  // A forked process inherits the pool's memory as it was, with a lock that may be held, and none of its threads.
  pthread_atfork(nullptr, nullptr, [] { made_anew(); });
  return made_anew();
}();

}  // namespace

void run_shared(SharedWork work, int helpers) { pool->share(work, helpers); }

}  // namespace hfd
