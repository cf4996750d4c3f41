// Threads that help a caller with its work: started when first asked for, asleep between calls, never waited for unless they
// have begun.
#pragma once

namespace hfd {

// One piece of work that any number of threads can do together: run(context, worker) returns when nothing is left to begin.
struct SharedWork {
  void (*run)(const void* context, int worker);
  const void* context;
};

// Does the work as worker 0, with at most `helpers` others as workers 1, 2, ...; returns when all who began have ended. Several
// threads may call at once and share the helpers. In a forked process, which inherits no thread, the pool starts anew.
void run_shared(SharedWork work, int helpers);

}  // namespace hfd
