// SPDX-License-Identifier: Apache-2.0
//
// The contract of every store, for those that keep_store_test.cc and disk_store_test.cc instantiate it with.
#include "store/store_conformance_tests.h"
