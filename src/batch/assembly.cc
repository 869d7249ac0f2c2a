// SPDX-License-Identifier: Apache-2.0
//
// One thread at a time is past the pieces: the last piece of a step to end goes on with the next
// step, so only faults_ and the rows' places in memory are written side by side, each by the one
// piece that has the row.
#include "batch/assembly.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace headrace {

AssemblyRun::AssemblyRun(std::shared_ptr<BatchAssembler> assembler, BatchRequest request)
    : assembler_(std::move(assembler)),
      request_(std::move(request)),
      reader_(assembler_->decodes_, request_.rows),
      faults_(request_.rows.size()) {}

void AssemblyRun::advance(UniqueFunction<void(State)> done) {
  HR_ASSERT(!done_ && step_ != Step::kOver);
  done_ = std::move(done);
  go_on();
}

void AssemblyRun::go_on() {
  switch (step_) {
    case Step::kMeasure:
      return run_rows(&AssemblyRun::measure_row, piece_ends(&RowReader::measure_nanos),
                      Step::kTakeSlot);
    case Step::kTakeSlot:
      return take_slot();
    case Step::kWrite:
      return run_rows(&AssemblyRun::write_row, piece_ends(&RowReader::write_nanos), Step::kFinish);
    case Step::kTakeSecondSlot:
      return take_second_slot();
    case Step::kFinish:
      return after_write();
    case Step::kOver:
      break;
  }
}

void AssemblyRun::stop(State state) {
  if (state != State::kWaitingForMemory) {
    step_ = Step::kOver;
    request_.hold.reset();
    request_.own.reset();
  }
  auto done = std::move(done_);
  done(state);
}

void AssemblyRun::fail(Status status) {
  status_ = std::move(status);
  batch_.reset();
  stop(State::kFailed);
}

// ---- pieces

std::vector<uint64_t> AssemblyRun::piece_ends(uint64_t (RowReader::*nanos)(uint64_t) const) const {
  std::vector<uint64_t> ends;
  uint64_t sum = 0;
  for (uint64_t row = 0; row < request_.rows.size(); ++row) {
    sum += (reader_.*nanos)(row);
    if (sum < assembler_->options_.piece_nanos) continue;
    ends.push_back(row + 1);
    sum = 0;
  }
  if (ends.empty() || ends.back() != request_.rows.size()) ends.push_back(request_.rows.size());
  return ends;
}

void AssemblyRun::run_piece(RowWork work, uint64_t begin, uint64_t end) {
  auto scratch = assembler_->take_scratch();
  for (uint64_t row = begin; row < end; ++row) (this->*work)(row, *scratch);
  assembler_->give_scratch(std::move(scratch));
}

void AssemblyRun::run_rows(RowWork work, std::vector<uint64_t> ends, Step next) {
  step_ = next;
  // Measuring is mostly a look at headers: not worth a hand-over when it is one piece.
  const bool here =
      assembler_->workers_ == nullptr || (ends.size() == 1 && next == Step::kTakeSlot);
  if (here) {
    run_piece(work, 0, request_.rows.size());
    return go_on();
  }
  pieces_left_.store(ends.size(), std::memory_order_relaxed);
  uint64_t begin = 0;
  for (uint64_t end : ends) {
    assembler_->workers_->post([self = shared_from_this(), work, begin, end] {
      self->run_piece(work, begin, end);
      if (self->pieces_left_.fetch_sub(1, std::memory_order_acq_rel) == 1) self->go_on();
    });
    begin = end;
  }
}

// ---- steps

void AssemblyRun::measure_row(uint64_t row, ImageScratch&) { faults_[row] = reader_.measure(row); }

// Which rows are bad and what fills them. Under kRaise the first bad row is the batch's failure.
Status AssemblyRun::find_sources() {
  const uint64_t n = request_.rows.size();
  const auto is_bad = [](const Status& status) { return !status.ok(); };
  const auto first = std::find_if(faults_.begin(), faults_.end(), is_bad);
  bad_ = static_cast<uint64_t>(std::count_if(first, faults_.end(), is_bad));
  if (bad_ > 0 && assembler_->options_.bad_samples == BadSamples::kRaise) return *first;
  if (bad_ == n) {
    return first->with_context("assemble a batch of " + std::to_string(n) +
                               " rows: not one sample is good; the first");
  }
  sources_.resize(n);
  if (bad_ == 0) {
    std::iota(sources_.begin(), sources_.end(), uint64_t{0});
    return {};
  }
  // Backwards, twice around, so that the last rows' holes find the first good one.
  uint64_t good = 0;
  for (uint64_t i = 2 * n; i-- > 0;) {
    if (faults_[i % n].ok()) good = i % n;
    if (i < n) sources_[i] = good;
  }
  return {};
}

// A column's rows where they lie; none where it may not be loose.
std::vector<Bytes> AssemblyRun::rows_in_place(size_t column) const {
  const LooseWish& wish = *assembler_->options_.loose;
  const FieldKind kind = assembler_->decodes()[column].kind;
  const bool array = kind == FieldKind::kNpy || kind == FieldKind::kMdsArray;
  if (kind != FieldKind::kBytes && !(array && wish.arrays())) return {};
  std::vector<Bytes> rows;
  uint64_t bytes = 0;
  for (uint64_t row = 0; row < request_.rows.size(); ++row) {
    const std::optional<Bytes> found = reader_.in_place(row, column);
    if (!found) return {};
    bytes += rows.emplace_back(*found).size();
  }
  if (bytes < rows.size() * wish.row_bytes_min()) return {};
  return rows;
}

// Columns of large stored bytes stay where they are, if little else stays with them: what the user holds of a batch
// should not be much more than what is in it.
void AssemblyRun::find_loose() {
  const std::shared_ptr<LooseWish>& wish = assembler_->options_.loose;
  if (!wish || !wish->granted() || !request_.own || bad_ > 0) return;
  uint64_t bytes = 0;
  for (size_t c = 0; c < assembler_->decodes().size(); ++c) {
    std::vector<Bytes> rows = rows_in_place(c);
    if (rows.empty()) continue;
    for (const Bytes row : rows) bytes += row.size();
    loose_.emplace(c, std::move(rows));
  }
  if (bytes < request_.own->bytes() / 4 * 3) loose_.clear();
  for (const auto& [column, rows] : loose_) {
    layout_->keep_loose(column);
    reader_.leave_out(column);
  }
}

void AssemblyRun::place_loose() {
  for (auto& [column, rows] : loose_) batch_->columns[column].rows = std::move(rows);
}

void AssemblyRun::take_slot() {
  if (!layout_) {
    const bool mixed = assembler_->decodes_.size() > 1;
    layout_.emplace(assembler_->decodes(), request_.rows, reader_, faults_, mixed);
    if (Status status = find_sources(); !status.ok()) return fail(std::move(status));
    find_loose();
    if (Status status = layout_->measure(sources_); !status.ok()) return fail(std::move(status));
  }
  const uint64_t bytes = layout_->fixed_bytes() + layout_->ragged_bytes();
  Slot slot = assembler_->slots_->take(bytes);
  if (!slot) {
    bytes_wanted_ = assembler_->slots_->charge(bytes);
    return stop(State::kWaitingForMemory);
  }
  batch_ = std::make_shared<BatchData>();
  batch_->epoch = request_.epoch;
  batch_->position = request_.position;
  layout_->place_fixed(slot.bytes(), *batch_);
  layout_->place_ragged(slot.bytes().subspan(layout_->fixed_bytes()), sources_, *batch_);
  place_loose();
  batch_->slots.push_back(std::move(slot));
  step_ = Step::kWrite;
  go_on();
}

void AssemblyRun::write_key(uint64_t row) {
  const std::string_view key = request_.rows[sources_[row]].sample.key;
  const MutableBytes out = BatchLayout::row_of(batch_->sample_keys, batch_->rows, row);
  if (!key.empty()) std::memcpy(out.data(), key.data(), key.size());
}

void AssemblyRun::write_row(uint64_t row, ImageScratch& scratch) {
  write_key(row);
  if (sources_[row] != row) return;  // a hole: copied when the rest is there
  for (size_t c = 0; c < batch_->columns.size(); ++c) {
    if (batch_->columns[c].loose()) continue;
    const MutableBytes out = BatchLayout::row_of(batch_->columns[c], batch_->rows, row);
    faults_[row] = reader_.write(row, c, out, scratch);
    if (!faults_[row].ok()) return;
  }
}

void AssemblyRun::after_write() {
  const uint64_t bad_before = bad_;
  if (Status status = find_sources(); !status.ok()) return fail(std::move(status));
  if (bad_ == bad_before) return finish();
  // A fixed row can be copied over; ragged ones, and keys, change their places. A hole has none of its own.
  layout_->join_all();
  if (Status status = layout_->measure(sources_); !status.ok()) return fail(std::move(status));
  step_ = Step::kTakeSecondSlot;
  go_on();
}

void AssemblyRun::take_second_slot() {
  Slot slot = assembler_->slots_->take(layout_->ragged_bytes());
  if (!slot) {
    bytes_wanted_ = assembler_->slots_->charge(layout_->ragged_bytes());
    return stop(State::kWaitingForMemory);
  }
  const std::vector<Column> before = batch_->columns;
  layout_->place_ragged(slot.bytes(), sources_, *batch_);
  for (uint64_t row = 0; row < batch_->rows; ++row) {
    write_key(row);
    for (size_t c = 0; c < before.size(); ++c) {
      if ((!before[c].ragged && !before[c].loose()) || sources_[row] != row) continue;
      const Bytes from =
          before[c].loose() ? before[c].rows[row] : Bytes(BatchLayout::row_of(before[c], batch_->rows, row));
      const MutableBytes to = BatchLayout::row_of(batch_->columns[c], batch_->rows, row);
      if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
    }
  }
  batch_->slots.push_back(std::move(slot));
  finish();
}

void AssemblyRun::finish() {
  const bool loose = std::ranges::any_of(batch_->columns, [](const Column& column) { return column.loose(); });
  if (loose) batch_->loose = {std::move(request_.own), assembler_->slots_, assembler_->options_.loose};
  for (uint64_t row = 0; row < batch_->rows; ++row) {
    const uint64_t source = sources_[row];
    batch_->ids[row] = static_cast<int64_t>(request_.rows[source].id);
    batch_->epochs[row] = static_cast<int64_t>(request_.rows[source].epoch);
    if (!batch_->sources.empty()) batch_->sources[row] = static_cast<int32_t>(request_.rows[source].source);
    batch_->valid[row] = request_.rows[row].valid && source == row;
    if (source == row) continue;
    for (const Column& column : batch_->columns) {
      const MutableBytes from = BatchLayout::row_of(column, batch_->rows, source);
      const MutableBytes to = BatchLayout::row_of(column, batch_->rows, row);
      if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
    }
    const BatchRow& bad = request_.rows[row];
    skipped_.push_back({row, bad.id, std::string(bad.sample.key), std::string(bad.shard),
                        std::move(faults_[row])});
  }
  stop(State::kReady);
}

}  // namespace headrace
