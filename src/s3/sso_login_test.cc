// SPDX-License-Identifier: Apache-2.0
//
// How an SSO login is prolonged by its refresh token (OIDC CreateToken), and kept where the CLI keeps it.
#include <gtest/gtest.h>

#include "s3/credential_json.h"
#include "s3/sso_source.h"
#include "s3/testing/fake_world.h"

namespace headrace {
namespace {

using testing::header_of;
using testing::http_reply;
using testing::kFakeNow;

// sha1("corp"), by sha1sum.
constexpr char kCache[] = "/h/.aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
constexpr char kKeys[] = R"({"roleCredentials":{"accessKeyId":"ASIASSO","secretAccessKey":"CANARY/secret",
    "sessionToken":"CANARY/token","expiration":1700003600000}})";

class SsoLogin : public ::testing::Test {
 protected:
  SsoLogin() {
    world_.write("/h/.aws/config",
                 "[default]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = Data\n"
                 "[sso-session corp]\nsso_start_url = https://d.awsapps.com/start\nsso_region = eu-west-1\n");
    log_in("2023-11-14T22:00:00Z");  // 13 minutes ago
    world_.http->answer = [this](const ControlRequest& request) -> Result<HttpReply> {
      if (request.target == "/token") return oidc_;
      return http_reply(200, kKeys);
    };
  }
  void log_in(const std::string& expires, const std::string& more =
                  R"(,"clientId":"CANARY-id","clientSecret":"CANARY-cs","refreshToken":"CANARY-r1",)"
                  R"("registrationExpiresAt":"2024-01-01T00:00:00Z")") {
    world_.write(kCache, R"({"accessToken":"CANARY-old","startUrl":"https://d.awsapps.com/start","expiresAt":")" +
                             expires + "\"" + more + "}");
  }
  Result<Credentials> fetch() {
    CredentialWorld world;
    world.environment = Environment(std::map<std::string, std::string>{{"HOME", "/h"}});
    world.files = world_.files.get();
    world.http = world_.http.get();
    world.clock = &world_.clock;
    auto found = fetch_sso(world, *load_aws_files(world.environment, *world.files), "default", {});
    EXPECT_EQ(found.status().message().find("CANARY"), std::string::npos) << found.status().message();
    return found;
  }
  std::string kept(const char* field) { return field_of(*parse_json_fields(*world_.files->read(kCache, 1 << 16)), field); }
  std::string token_used() { return header_of(world_.http->asked.back(), "x-amz-sso_bearer_token"); }

  testing::FakeWorld world_;
  Result<HttpReply> oidc_ = http_reply(200, R"({"accessToken":"CANARY-new","expiresIn":3600,"refreshToken":"CANARY-r2"})");
};

TEST_F(SsoLogin, IsProlongedByItsRefreshTokenAndKept) {
  ASSERT_TRUE(fetch().ok());
  ASSERT_EQ(world_.http->urls.size(), 2u);
  EXPECT_EQ(world_.http->urls[0], "POST https://oidc.eu-west-1.amazonaws.com/token");
  const JsonFields sent = *parse_json_fields(world_.http->asked[0].body);
  EXPECT_EQ(sent, (JsonFields{{"clientId", "CANARY-id"}, {"clientSecret", "CANARY-cs"}, {"grantType", "refresh_token"},
                              {"refreshToken", "CANARY-r1"}}));
  EXPECT_EQ(token_used(), "CANARY-new");
  EXPECT_EQ(kept("accessToken"), "CANARY-new");
  EXPECT_EQ(kept("refreshToken"), "CANARY-r2");
  EXPECT_EQ(kept("expiresAt"), "2023-11-14T23:13:20Z");  // the fake clock's 22:13:20 and an hour
  EXPECT_EQ(kept("startUrl"), "https://d.awsapps.com/start");
}

TEST_F(SsoLogin, IsLeftAloneWhileItLasts) {
  log_in("2023-11-14T22:28:21Z");  // 15 minutes and a second
  ASSERT_TRUE(fetch().ok());
  EXPECT_EQ(world_.http->urls.size(), 1u);
  EXPECT_EQ(token_used(), "CANARY-old");
}

TEST_F(SsoLogin, IsProlongedAheadButNotNeededYet) {
  log_in("2023-11-14T22:28:20Z");
  oidc_ = unavailable("no route");
  ASSERT_TRUE(fetch().ok());
  EXPECT_EQ(world_.http->urls.size(), 2u);
  EXPECT_EQ(token_used(), "CANARY-old");
}

TEST_F(SsoLogin, SaysWhatTheServiceSaidWhenItRefuses) {
  oidc_ = http_reply(400, R"({"error":"invalid_grant","error_description":"CANARY"})");
  const Status status = fetch().status();
  EXPECT_EQ(status.code(), Code::kPermission);
  EXPECT_NE(status.message().find("status=400 error=invalid_grant"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("aws sso login --profile default"), std::string::npos);
}

TEST_F(SsoLogin, CanBeTriedAgainWhenTheServiceCannotBeReached) {
  oidc_ = unavailable("no route");
  EXPECT_EQ(fetch().status().code(), Code::kUnavailable);
}

TEST_F(SsoLogin, GoesOnWithWhatAnotherProcessHasProlonged) {
  world_.http->answer = [this](const ControlRequest& request) -> Result<HttpReply> {
    if (request.target != "/token") return http_reply(200, kKeys);
    log_in("2023-11-15T00:00:00Z");
    return http_reply(400, R"({"error":"invalid_grant"})");
  };
  EXPECT_TRUE(fetch().ok());
}

TEST_F(SsoLogin, NeedsAllOfItsParts) {
  for (const char* more : {"", R"(,"refreshToken":"CANARY","clientId":"CANARY")",
                           R"(,"clientId":"CANARY","clientSecret":"CANARY","refreshToken":"CANARY",)"
                           R"("registrationExpiresAt":"2023-01-01T00:00:00Z")"}) {
    log_in("2023-11-14T22:00:00Z", more);
    EXPECT_NE(fetch().status().message().find("the login has expired; run"), std::string::npos) << more;
  }
  EXPECT_TRUE(world_.http->urls.empty());
}

TEST_F(SsoLogin, RefusesAnAnswerThatIsNone) {
  for (const char* text : {R"({"expiresIn":3600})", R"({"accessToken":"a b","expiresIn":3600})",
                           R"({"accessToken":"x","expiresIn":99999999999})", R"({"accessToken":"x"})", "no"}) {
    oidc_ = http_reply(200, text);
    EXPECT_EQ(fetch().status().code(), Code::kPermission) << text;
    EXPECT_EQ(kept("accessToken"), "CANARY-old");
  }
}

}  // namespace
}  // namespace headrace
