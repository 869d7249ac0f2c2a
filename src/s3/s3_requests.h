// SPDX-License-Identifier: Apache-2.0
//
// The four requests of S3Store. Private to it.
#pragma once

#include "s3/s3_exchange.h"

namespace headrace {

class ReadExchange final : public S3Exchange {
 public:
  ReadExchange(std::shared_ptr<S3Core> core, ReadRequest request, UniqueFunction<void(ReadOutcome)> done,
               std::stop_token stop);

 private:
  void fill(HttpRequest* request) override;
  std::string query() const override;
  std::string what() const override;
  bool wanted(int status) const override { return status >= 200 && status < 300; }  // accept() was more exact
  void on_reply(HttpReply reply) override;
  void on_failure(S3Failure failure) override;
  Status accept(const HttpReply& reply);
  Status accept_part(const HttpReply& reply);
  Status accept_whole(const HttpReply& reply);
  Status check_size(uint64_t says, const HttpReply& reply);
  void tell_changed(S3Failure failure);
  void tell(ReadOutcome outcome);

  const ReadRequest request_;
  UniqueFunction<void(ReadOutcome)> done_;
  std::string etag_;  // of the reply
  uint64_t object_size_ = 0;
};

// HEAD; where the store forbids it or leaves the size out, a GET of the first byte says the same.
class HeadExchange final : public S3Exchange {
 public:
  HeadExchange(std::shared_ptr<S3Core> core, std::string key, Completion<ObjectMeta> done, std::stop_token stop,
               int32_t loop = kAnyLoop);

 private:
  void fill(HttpRequest* request) override;
  std::string what() const override;
  bool wanted(int status) const override;
  void on_reply(HttpReply reply) override;
  void on_failure(S3Failure failure) override;
  void ask_by_range();
  Status no_ranges() const;

  Completion<ObjectMeta> done_;
  bool by_range_ = false;
};

// HeadBucket, for the region that a refusal did not name: AWS puts it into every answer about a bucket.
class RegionExchange final : public S3Exchange {
 public:
  RegionExchange(std::shared_ptr<S3Core> core, UniqueFunction<void(std::string)> done, std::stop_token stop,
                 int32_t loop);

 private:
  void fill(HttpRequest* request) override;
  bool needs_key() const override { return false; }
  std::string what() const override { return "head " + core_->name; }
  bool wanted(int) const override { return true; }
  void on_reply(HttpReply reply) override;
  void on_failure(S3Failure) override { std::exchange(done_, nullptr)(""); }

  UniqueFunction<void(std::string)> done_;  // "" = not told
};

class ListExchange final : public S3Exchange {
 public:
  ListExchange(std::shared_ptr<S3Core> core, ListRequest request, Completion<ListPage> done, std::stop_token stop);

 private:
  void fill(HttpRequest* request) override;
  bool needs_key() const override { return false; }
  std::string query() const override;
  std::string what() const override;
  void on_reply(HttpReply reply) override;
  void on_failure(S3Failure failure) override { std::exchange(done_, nullptr)(std::move(failure.status)); }
  std::string prefix_asked() const;
  void keep_wanted(ListPage* page) const;

  const ListRequest request_;
  Completion<ListPage> done_;
};

class PutExchange final : public S3Exchange {
 public:
  PutExchange(std::shared_ptr<S3Core> core, PutRequest request, Completion<ObjectMeta> done, std::stop_token stop);

 private:
  void fill(HttpRequest* request) override;
  std::string payload_hash() const override { return sha256_hex(request_.content); }
  std::string what() const override;
  void on_reply(HttpReply reply) override;
  void on_failure(S3Failure failure) override;

  const PutRequest request_;
  Completion<ObjectMeta> done_;
};

// Uploads in parts, copies, removal.
class EditExchange final : public S3Exchange {
 public:
  EditExchange(std::shared_ptr<S3Core> core, EditRequest request, Completion<EditReply> done, std::stop_token stop);

 private:
  void fill(HttpRequest* request) override;
  std::string query() const override;
  std::string payload_hash() const override;
  std::string what() const override;
  bool wanted(int status) const override { return status == 200 || status == 204; }
  void on_reply(HttpReply reply) override;
  void on_failure(S3Failure failure) override;
  std::string body() const;

  const EditRequest request_;
  Completion<EditReply> done_;
};

}  // namespace headrace
