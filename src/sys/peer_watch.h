// SPDX-License-Identifier: Apache-2.0
//
// A worker process must not outlive the process that it works for, whatever either is doing: not when that one is
// killed, and not when the worker's own code hangs with Python's lock held. (PR_SET_PDEATHSIG is not used: it follows
// the thread that started the worker, not the process.)
#pragma once

#include "base/result.h"

namespace headrace {

// Starts a thread that ends this process, without clean-up and with status 1, when the other end of the socket is
// closed. The descriptor must stay open for the rest of the process's life.
Status exit_when_peer_closes(int socket);

}  // namespace headrace
