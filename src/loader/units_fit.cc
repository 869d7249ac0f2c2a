// SPDX-License-Identifier: Apache-2.0
#include "loader/units_fit.h"

namespace headrace {

Status check_units_fit(const TableSource& units, const std::string& url, bool keep, const Budget& budget) {
  const uint64_t half = budget.bytes_max() / 2;
  const std::string arithmetic = ", and half of " + budget.name() + " is " + std::to_string(half) + "; ";
  if (keep && units.decoded_bytes() > half) {
    return exhausted("iterate: " + url + " is decoded in units of many samples; reading single samples of it " +
                     "(shuffle=\"global\", weights=) keeps all of them in memory, " +
                     std::to_string(units.decoded_bytes()) + " bytes of the wanted columns" + arithmetic +
                     "raise memory=, name fewer columns, or use shuffle=True");
  }
  if (units.unit_bytes_max() > half) {
    return exhausted("iterate: " + url + ": a unit takes " + std::to_string(units.unit_bytes_max()) +
                     " bytes once decoded" + arithmetic + units.smaller_units_hint() +
                     ", raise memory=, or name fewer columns");
  }
  return {};
}

KeepUnits keep_units(const TableSource* units, Shuffle shuffle, bool drawn, uint64_t room_bytes) {
  if (units == nullptr) return KeepUnits::kNo;
  if (shuffle == Shuffle::kGlobal || drawn) return KeepUnits::kAll;
  // In the stored order each unit is read once.
  const bool again = shuffle != Shuffle::kNone;
  return again && units->decoded_bytes() <= room_bytes ? KeepUnits::kWithRoom : KeepUnits::kNo;
}

}  // namespace headrace
