// SPDX-License-Identifier: Apache-2.0
//
// Whether a data set that is decoded in units (Parquet) can be read within a memory budget.
#pragma once

#include <string>

#include "base/result.h"
#include "fetch/fetcher.h"
#include "loader/table_source.h"
#include "sys/budget.h"

namespace headrace {

// Error (kExhausted), with the arithmetic and what to do: a unit takes more than half of `budget` once decoded; or,
// with `keep` (single samples are read, so that all units stay), all of them do.
Status check_units_fit(const TableSource& units, const std::string& url, bool keep, const Budget& budget);

// Of the memory, for units that are kept although they could be read again.
inline constexpr uint64_t kKeptUnitsShare = 4;

// How long decoded units stay in a pass in this order (`drawn`: by weights), where `room_bytes` may be kept. Null
// units: samples are not decoded in units.
KeepUnits keep_units(const TableSource* units, Shuffle shuffle, bool drawn, uint64_t room_bytes);

}  // namespace headrace
