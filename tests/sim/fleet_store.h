// SPDX-License-Identifier: Apache-2.0
//
// The store of a fleet: FleetWeather is what all clients share, FleetStore one client's way to it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data_set.h"
#include "draw.h"
#include "network.h"
#include "store/object_store.h"

namespace headrace::sim {

// Drawn for one run.
struct FleetWeather {
  FleetWeather(Draw draw, Nanos span);
  struct Away {
    TimePoint from, until;
  };
  bool away(TimePoint now) const;
  bool too_many(TimePoint now);
  Nanos first_byte();
  std::string text() const;

  Draw draw;
  double median_ms, sigma, tail_share, tail_ms;
  double requests_per_s;  // 0: no cap
  double broken_share, stalled_share, flipped_share;
  Nanos retry_after{};
  std::vector<Away> aways;
  uint64_t attempts = 0, refused = 0, refused_away = 0, broken = 0;

 private:
  double tokens_ = 0;
  TimePoint filled_{};
};

class FleetStore final : public ReadOnlyStore {
 public:
  FleetStore(FleetWeather& weather, const DataSet& data, TimedExecutor& executor)
      : ReadOnlyStore(executor), weather_(weather), data_(data) {}
  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;

 private:
  struct Call;
  bool flips(const ReadRequest& request);
  FleetWeather& weather_;
  const DataSet& data_;
  std::map<std::pair<std::string, uint64_t>, uint32_t> flipped_;  // of this range, in a row
};

// Stands on top: each read is answered once.
class OnceStore final : public ReadOnlyStore {
 public:
  OnceStore(std::shared_ptr<ObjectStore> inner, Draw draw, std::function<void()> on_stop, bool loses, bool doubles)
      : ReadOnlyStore(inner->executor()), inner_(std::move(inner)), draw_(draw), on_stop_(std::move(on_stop)),
        loses_(loses), doubles_(doubles) {}
  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  bool crowded(uint64_t lane) const override { return inner_->crowded(lane); }
  // What was lost on purpose: nobody is left waiting for it at the end.
  void give_back_lost() {
    for (auto& done : lost_) done({});
    lost_.clear();
  }
  uint64_t begun = 0, ended = 0, twice = 0;

 private:
  std::vector<UniqueFunction<void(ReadOutcome)>> lost_;
  const std::shared_ptr<ObjectStore> inner_;
  Draw draw_;
  const std::function<void()> on_stop_;
  const bool loses_, doubles_;
  std::optional<std::stop_callback<std::function<void()>>> hook_;
};

}  // namespace headrace::sim
