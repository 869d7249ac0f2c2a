// SPDX-License-Identifier: Apache-2.0
//
// Each source of the chain against a fake of the real service: what is asked, what is believed, what is said when it
// fails; and that no secret is ever said. Answers are those of AWS's documentation.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "s3/credential_json.h"
#include "s3/credentials.h"
#include "s3/process_source.h"
#include "s3/s3_options.h"
#include "s3/testing/fake_world.h"
#include "sys/log.h"

namespace headrace {
namespace {

using testing::header_of;
using testing::http_reply;
using Values = std::map<std::string, std::string>;

std::string* logged = nullptr;

constexpr char kAssumed[] = R"(<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult><AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/demo/TestAR</Arn></AssumedRoleUser>
    <Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>CANARY/secret</SecretAccessKey>
      <SessionToken>CANARY/token</SessionToken><Expiration>2023-11-14T23:13:20Z</Expiration></Credentials>
  </AssumeRoleResult></AssumeRoleResponse>)";
constexpr char kWebIdentity[] = R"(<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult><SubjectFromWebIdentityToken>amzn1.account</SubjectFromWebIdentityToken>
    <Credentials><SessionToken>CANARY/token</SessionToken><SecretAccessKey>CANARY/secret</SecretAccessKey>
      <Expiration>2023-11-14T23:13:20Z</Expiration><AccessKeyId>ASIAWEB</AccessKeyId></Credentials>
  </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>)";
constexpr char kMetadata[] = R"({"Code" : "Success", "LastUpdated" : "2023-11-14T16:39:16Z", "Type" : "AWS-HMAC",
  "AccessKeyId" : "ASIAIMDS", "SecretAccessKey" : "CANARY/secret", "Token" : "CANARY/token",
  "Expiration" : "2023-11-15T04:13:20Z"})";

class ChainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    logged = &said_;
    set_log_sink([](LogLevel, std::string_view line) { logged->append(line).append("\n"); });
  }
  void TearDown() override {
    set_log_sink(nullptr);
    EXPECT_EQ(said_.find("CANARY"), std::string::npos) << said_;
  }
  Result<std::shared_ptr<CredentialsProvider>> resolve(Values values, const S3Options& options = {}) {
    values.emplace("HOME", "/h");
    auto provider = resolve_credentials(options, Environment(values), world_.tools());
    said_ += provider.status().message() + "\n";
    return provider;
  }
  Credentials found(const Values& values, const S3Options& options = {}) {
    auto provider = resolve(values, options);
    EXPECT_TRUE(provider.ok()) << provider.status().message();
    return provider.ok() ? *(*provider)->current() : Credentials{};
  }
  std::string refusal(const Values& values, Code code) {
    const Status status = resolve(values).status();
    EXPECT_EQ(status.code(), code) << status.message();
    return status.message();
  }
  void answers(int status, std::string text) {
    world_.http->answer = [status, text](const ControlRequest&) { return http_reply(status, text); };
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
  const ControlRequest& last() { return world_.http->asked.back(); }

  testing::FakeWorld world_;
  std::string said_;
};

TEST_F(ChainTest, WebIdentityReadsItsTokenAnewAndSignsNothing) {
  world_.write("/token", "CANARY.jwt.one\n");
  answers(200, kWebIdentity);
  const Values environment = {{"AWS_WEB_IDENTITY_TOKEN_FILE", "/token"},
                              {"AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/data"},
                              {"AWS_ROLE_SESSION_NAME", "job-7"}};
  S3Options options;
  options.region = "eu-west-1";
  auto provider = *resolve(environment, options);
  const Credentials got = *provider->current();
  EXPECT_EQ(got.access_key_id, "ASIAWEB");
  EXPECT_EQ(got.secret_access_key, Secret("CANARY/secret"));
  EXPECT_EQ(got.session_token, Secret("CANARY/token"));
  EXPECT_EQ(got.expires_unix, testing::kFakeNow + 3600);
  EXPECT_EQ(world_.http->urls.back(), "POST https://sts.eu-west-1.amazonaws.com/");
  EXPECT_EQ(header_of(last(), "authorization"), "-");
  EXPECT_EQ(last().body,
            "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdata&"
            "RoleSessionName=job-7&Version=2011-06-15&WebIdentityToken=CANARY.jwt.one");
  world_.write("/token", "CANARY.jwt.two");
  provider->refresh(provider->current(), [](auto) {});
  world_.worker->run_ready();
  EXPECT_TRUE(has(last().body, "WebIdentityToken=CANARY.jwt.two"));
}

TEST_F(ChainTest, AFailingWebIdentityNeverFallsThroughToTheNodesRole) {
  world_.write("/token", "CANARY.jwt");
  answers(400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>No OpenIDConnect provider</Message>"
               "</Error></ErrorResponse>");
  const Values environment = {{"AWS_WEB_IDENTITY_TOKEN_FILE", "/token"}, {"AWS_ROLE_ARN", "arn:aws:iam::1:role/data"}};
  const std::string said = refusal(environment, Code::kPermission);
  EXPECT_EQ(world_.http->asked.size(), 1u);
  for (const char* part : {"arn:aws:iam::1:role/data", "InvalidIdentityToken", "No OpenIDConnect provider", "OIDC"}) {
    EXPECT_TRUE(has(said, part)) << said;
  }
  answers(400, "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>");
  refusal(environment, Code::kUnavailable);
  answers(200, "<html>captive portal</html>");
  refusal(environment, Code::kCorrupt);
  Values missing = environment;
  missing["AWS_WEB_IDENTITY_TOKEN_FILE"] = "/nowhere";
  EXPECT_TRUE(has(refusal(missing, Code::kPermission), "/nowhere"));
  missing.erase("AWS_ROLE_ARN");
  EXPECT_TRUE(has(refusal(missing, Code::kInvalidArgument), "AWS_ROLE_ARN"));
}

TEST_F(ChainTest, AssumesARoleWithTheKeysOfItsSourceProfile) {
  world_.write("/h/.aws/config",
               "[profile job]\nrole_arn = arn:aws:iam::1:role/data\nsource_profile = base\nexternal_id = E 1\n"
               "duration_seconds = 900\nrole_session_name = me\nregion = cn-north-1\n");
  world_.write("/h/.aws/credentials", "[base]\naws_access_key_id = BASE\naws_secret_access_key = CANARY/base\n");
  answers(200, kAssumed);
  const Credentials got = found({{"AWS_PROFILE", "job"}});
  EXPECT_EQ(got.access_key_id, "ASIAROLE");
  EXPECT_EQ(got.source, "profile job, role arn:aws:iam::1:role/data");
  EXPECT_EQ(world_.http->urls.back(), "POST https://sts.cn-north-1.amazonaws.com.cn/");
  EXPECT_EQ(last().body,
            "Action=AssumeRole&DurationSeconds=900&ExternalId=E%201&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fdata&"
            "RoleSessionName=me&Version=2011-06-15");
  EXPECT_TRUE(has(header_of(last(), "authorization"), "Credential=BASE/20231114/cn-north-1/sts/aws4_request"));
}

TEST_F(ChainTest, TakesRolesThroughAChainOfProfiles) {
  world_.write("/h/.aws/config",
               "[profile c]\nrole_arn = C\nsource_profile = b\n[profile b]\nrole_arn = B\nsource_profile = a\n"
               "[profile a]\naws_access_key_id = A\naws_secret_access_key = s\n");
  answers(200, kAssumed);
  EXPECT_EQ(found({{"AWS_PROFILE", "c"}}).source, "profile c, role C");
  ASSERT_EQ(world_.http->asked.size(), 2u);
  EXPECT_TRUE(has(world_.http->asked[0].body, "RoleArn=B&"));
  EXPECT_TRUE(has(header_of(world_.http->asked[0], "authorization"), "Credential=A/"));
  EXPECT_TRUE(has(world_.http->asked[1].body, "RoleArn=C&"));
  EXPECT_TRUE(has(header_of(world_.http->asked[1], "authorization"), "Credential=ASIAROLE/"));
  EXPECT_EQ(header_of(world_.http->asked[1], "x-amz-security-token"), "CANARY/token");
}

TEST_F(ChainTest, ARoleBeatsTheKeysBesideItWhichAreItsSource) {
  world_.write("/h/.aws/config", "[default]\nrole_arn = R\nsource_profile = default\n");
  world_.write("/h/.aws/credentials", "[default]\naws_access_key_id = OWN\naws_secret_access_key = s\n");
  answers(200, kAssumed);
  EXPECT_EQ(found({}).access_key_id, "ASIAROLE");
  EXPECT_TRUE(has(header_of(last(), "authorization"), "Credential=OWN/"));
}

TEST_F(ChainTest, SaysWhatIsWrongWithAProfilesRole) {
  const auto said = [&](const std::string& body, Code code = Code::kInvalidArgument) {
    world_.write("/h/.aws/config", "[default]\nrole_arn = R\n" + body);
    return refusal({}, code);
  };
  EXPECT_TRUE(has(said("source_profile = x\n[profile x]\nrole_arn = X\nsource_profile = default\n"), "circle"));
  EXPECT_TRUE(has(said("source_profile = gone\n"), "\"gone\" does not exist"));
  EXPECT_TRUE(has(said("source_profile = x\n[profile x]\nregion = r\n"), "has no credentials"));
  EXPECT_TRUE(has(said(""), "source_profile or credential_source"));
  EXPECT_TRUE(has(said("source_profile = x\ncredential_source = Environment\n"), "only one"));
  EXPECT_TRUE(has(said("credential_source = Moon\n"), "Ec2InstanceMetadata"));
  EXPECT_TRUE(has(said("credential_source = Environment\n"), "AWS_ACCESS_KEY_ID is not set"));
  EXPECT_TRUE(has(said("credential_source = EcsContainer\n", Code::kPermission), "AWS_CONTAINER_CREDENTIALS"));
  EXPECT_TRUE(has(said("source_profile = x\nduration_seconds = 60\n"), "900 to 43200"));
  EXPECT_TRUE(has(said("source_profile = x\nmfa_serial = m\n", Code::kUnsupported), "MFA"));
}

TEST_F(ChainTest, AProfilesWebIdentity) {
  world_.write("/h/.aws/config", "[default]\nrole_arn = R\nweb_identity_token_file = ~/token\n");
  world_.write("/h/token", "CANARY.jwt");
  answers(200, kWebIdentity);
  EXPECT_EQ(found({}).access_key_id, "ASIAWEB");
  EXPECT_TRUE(has(last().body, "Action=AssumeRoleWithWebIdentity"));
}

TEST_F(ChainTest, StsIsWhereTheEnvironmentOrTheProfileSays) {
  world_.write("/h/.aws/config",
               "[default]\nrole_arn = R\nsource_profile = k\nservices = s\n[services s]\nsts =\n"
               "  endpoint_url = http://sts.local:9\n[profile k]\naws_access_key_id = A\naws_secret_access_key = s\n");
  answers(200, kAssumed);
  found({});
  EXPECT_EQ(world_.http->urls.back(), "POST http://sts.local:9/");
  found({{"AWS_ENDPOINT_URL_STS", "http://e:1"}, {"AWS_ENDPOINT_URL", "http://e:2"}});
  EXPECT_EQ(world_.http->urls.back(), "POST http://e:1/");
  found({{"AWS_ENDPOINT_URL", "http://e:2"}, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"}});
  EXPECT_EQ(world_.http->urls.back(), "POST https://sts.us-east-1.amazonaws.com/");
}

// ---- container ----

TEST_F(ChainTest, AsksTheContainersAgentWithItsToken) {
  answers(200, R"({"AccessKeyId":"ASIAECS","SecretAccessKey":"CANARY/secret","Token":"CANARY/token",
                   "Expiration":"2023-11-15T04:13:20Z","RoleArn":"arn:aws:iam::1:role/task"})");
  EXPECT_EQ(found({{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/uuid"}}).access_key_id, "ASIAECS");
  EXPECT_EQ(world_.http->urls.back(), "GET http://169.254.170.2/v2/credentials/uuid");
  EXPECT_TRUE(last().direct);
  world_.write("/var/token", "CANARY-file\n");
  const Values pod = {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"},
                      {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "CANARY-old"},
                      {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/var/token"}};
  auto provider = *resolve(pod);
  EXPECT_EQ(world_.http->urls.back(), "GET http://169.254.170.23/v1/credentials");
  EXPECT_EQ(header_of(last(), "authorization"), "CANARY-file");
  world_.write("/var/token", "CANARY-next");  // Pod Identity rotates it
  provider->refresh(provider->current(), [](auto) {});
  world_.worker->run_ready();
  EXPECT_EQ(header_of(last(), "authorization"), "CANARY-next");
}

TEST_F(ChainTest, OnlyHostsThatCannotBeForeignAreSentTheContainersToken) {
  const auto full = [](const std::string& uri, const std::string& token = "") {
    return Values{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", uri}, {"AWS_CONTAINER_AUTHORIZATION_TOKEN", token}};
  };
  answers(200, kMetadata);
  for (const char* good : {"https://any.example/x", "http://127.0.0.1:8080/x?y=z", "http://localhost/x", "http://[::1]/x",
                           "http://169.254.170.2/", "http://[fd00:ec2::23]/v1/credentials"}) {
    EXPECT_EQ(found(full(good)).access_key_id, "ASIAIMDS") << good;
  }
  const size_t asked = world_.http->asked.size();
  for (const char* bad : {"http://evil.example/x", "http://169.254.169.254/x", "http://127.0.0.1.evil.example/",
                          "http://10.0.0.1/x", "ftp://169.254.170.2/", "http://user:CANARY@169.254.170.2/"}) {
    refusal(full(bad, "CANARY"), Code::kInvalidArgument);
  }
  refusal(full("http://127.0.0.1/", "CANARY\r\nx: y"), Code::kInvalidArgument);
  EXPECT_EQ(world_.http->asked.size(), asked);
}

TEST_F(ChainTest, AFailingContainerIsAnErrorAndTheInstanceIsNotAsked) {
  const Values ecs = {{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/c"}};
  answers(403, R"({"code":"AccessDenied","message":"token is not allowed"})");
  EXPECT_TRUE(has(refusal(ecs, Code::kPermission), "token is not allowed"));
  answers(500, "");
  refusal(ecs, Code::kUnavailable);
  answers(200, "garbage CANARY");
  refusal(ecs, Code::kCorrupt);
  answers(200, R"({"AccessKeyId":"A","Expiration":"2023-11-15T04:13:20Z"})");
  refusal(ecs, Code::kCorrupt);
  answers(200, R"({"AccessKeyId":"A","SecretAccessKey":"CANARY","Expiration":"soon"})");
  refusal(ecs, Code::kCorrupt);
  for (const std::string& url : world_.http->urls) EXPECT_TRUE(has(url, "169.254.170.2")) << url;
}

// ---- instance metadata ----

// IMDSv2 as its documentation has it: no token, no answer.
struct FakeInstance {
  int token_status = 200;
  std::string token = "AQAE-token";
  std::string role = "node-role";
  std::string body = kMetadata;
  int tokens_given = 0;
  Result<HttpReply> operator()(const ControlRequest& request) {
    if (request.target == "/latest/api/token") {
      EXPECT_EQ(request.method, "PUT");
      EXPECT_EQ(header_of(request, "x-aws-ec2-metadata-token-ttl-seconds"), "21600");
      ++tokens_given;
      return http_reply(token_status, token);
    }
    EXPECT_TRUE(request.direct);
    if (header_of(request, "x-aws-ec2-metadata-token") != token) return http_reply(401, "");
    if (request.target == "/latest/meta-data/iam/security-credentials/") {
      return http_reply(role.empty() ? 404 : 200, role);
    }
    if (request.target == "/latest/meta-data/iam/security-credentials/" + role) return http_reply(200, body);
    return http_reply(404, "");
  }
};

TEST_F(ChainTest, AsksTheInstanceByVersionTwo) {
  auto instance = std::make_shared<FakeInstance>();
  world_.http->answer = [instance](const ControlRequest& r) { return (*instance)(r); };
  auto provider = *resolve({});
  EXPECT_EQ(provider->current()->access_key_id, "ASIAIMDS");
  EXPECT_EQ(provider->current()->source, "instance metadata (IMDSv2), role node-role");
  EXPECT_EQ(provider->current()->expires_unix, testing::kFakeNow + 6 * 3600);
  EXPECT_EQ(world_.http->urls.front(), "PUT http://169.254.169.254/latest/api/token");
  EXPECT_EQ(world_.http->asked.front().timeout, std::chrono::seconds(1));
  // The token is kept, and taken anew when the service has forgotten it.
  provider->refresh(provider->current(), [](auto) {});
  world_.worker->run_ready();
  EXPECT_EQ(instance->tokens_given, 1);
  instance->token = "AQAE-other";
  world_.clock.advance(std::chrono::seconds(10));
  Status again;
  instance->body.replace(instance->body.find("ASIAIMDS"), 8, "ASIANEXT");
  provider->refresh(provider->current(), [&](auto result) { again = result.status(); });
  world_.worker->run_ready();
  EXPECT_TRUE(again.ok()) << again.message();
  EXPECT_EQ(instance->tokens_given, 2);
  EXPECT_EQ(provider->current()->access_key_id, "ASIANEXT");
}

TEST_F(ChainTest, WhatIsAndIsNotAnInstance) {
  auto instance = std::make_shared<FakeInstance>();
  world_.http->answer = [instance](const ControlRequest& r) { return (*instance)(r); };
  instance->role = "";
  EXPECT_TRUE(has(refusal({}, Code::kPermission), "no instance profile"));
  for (const auto& [status, part] : std::map<int, std::string>{{403, "switched off"}, {404, "does not speak IMDSv2"}}) {
    instance->token_status = status;
    EXPECT_TRUE(has(refusal({}, Code::kPermission), part));
  }
  instance->token_status = 400;
  refusal({}, Code::kPermission);
  instance->token_status = 200;
  instance->token = "";
  refusal({}, Code::kCorrupt);
  instance->token = "t";
  instance->role = "../../user-data";
  refusal({}, Code::kCorrupt);
  instance->role = "r";
  instance->body = R"({"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role r"})";
  EXPECT_TRUE(has(refusal({}, Code::kUnavailable), "EC2 cannot assume the role"));
  const size_t asked = world_.http->asked.size();
  EXPECT_TRUE(has(refusal({{"AWS_EC2_METADATA_DISABLED", "true"}}, Code::kPermission), "AWS_EC2_METADATA_DISABLED"));
  EXPECT_EQ(world_.http->asked.size(), asked);
}

TEST_F(ChainTest, TheInstancesServiceIsWhereTheEnvironmentSays) {
  auto instance = std::make_shared<FakeInstance>();
  world_.http->answer = [instance](const ControlRequest& r) { return (*instance)(r); };
  found({{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6"}, {"AWS_METADATA_SERVICE_TIMEOUT", "3"}});
  EXPECT_TRUE(has(world_.http->urls.back(), "http://[fd00:ec2::254]/latest/")) << world_.http->urls.back();
  EXPECT_EQ(last().timeout, std::chrono::seconds(3));
  found({{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://imds.local:1338/"}});
  EXPECT_TRUE(has(world_.http->urls.back(), "http://imds.local:1338/latest/"));
  refusal({{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv9"}}, Code::kInvalidArgument);
}

TEST_F(ChainTest, ExpiredCredentialsOfTheInstanceAreUsedForAWhile) {
  auto instance = std::make_shared<FakeInstance>();
  world_.http->answer = [instance](const ControlRequest& r) { return (*instance)(r); };
  world_.clock.advance(std::chrono::hours(7));
  EXPECT_EQ(found({}).expires_unix, testing::kFakeNow + 7 * 3600 + 600);
  EXPECT_TRUE(has(said_, "used for 10 minutes more"));
}

// ---- SSO ----

class SsoTest : public ChainTest {
 protected:
  // sha1("corp") and sha1("https://d.awsapps.com/start"), by sha1sum.
  void log_in(const std::string& expires = "2023-11-15T00:00:00Z") {
    world_.write("/h/.aws/config",
                 "[default]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Data\n"
                 "[sso-session corp]\nsso_start_url = https://d.awsapps.com/start\nsso_region = eu-west-1\n");
    world_.write("/h/.aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json",
                 R"({"accessToken":"CANARY-login","expiresAt":")" + expires + R"(","region":"eu-west-1"})");
  }
  static constexpr char kAnswer[] = R"({"roleCredentials":{"accessKeyId":"ASIASSO","secretAccessKey":"CANARY/secret",
      "sessionToken":"CANARY/token","expiration":1700003600000}})";
};

TEST_F(SsoTest, ExchangesTheLoginForTheRolesKeys) {
  log_in();
  answers(200, kAnswer);
  const Credentials got = found({});
  EXPECT_EQ(got.access_key_id, "ASIASSO");
  EXPECT_EQ(got.expires_unix, testing::kFakeNow + 3600);
  EXPECT_EQ(world_.http->urls.back(),
            "GET https://portal.sso.eu-west-1.amazonaws.com/federation/credentials?account_id=123456789012&role_name=Data");
  EXPECT_EQ(header_of(last(), "x-amz-sso_bearer_token"), "CANARY-login");
}

TEST_F(SsoTest, TheOldFormHasItsOwnCacheFile) {
  world_.write("/h/.aws/config",
               "[default]\nsso_start_url = https://d.awsapps.com/start\nsso_region = us-east-1\n"
               "sso_account_id = 1\nsso_role_name = Data\n");
  answers(200, kAnswer);
  EXPECT_TRUE(has(refusal({}, Code::kPermission), "aws sso login --profile default"));
  world_.write("/h/.aws/sso/cache/55ef7a9cf0faa7e6830be02dd04fb62b1c3c5000.json",
               R"({"accessToken":"CANARY-login","expiresAt":"2023-11-15T00:00:00UTC"})");
  EXPECT_EQ(found({}).access_key_id, "ASIASSO");
}

TEST_F(SsoTest, SaysToLogInAgain) {
  log_in("2023-11-14T22:13:20Z");
  EXPECT_TRUE(has(refusal({}, Code::kPermission), "the login has expired; run `aws sso login --profile default`"));
  log_in("2023-11-15T22:13:20UTC");
  answers(401, R"({"message":"Session token not found or invalid"})");
  EXPECT_TRUE(has(refusal({}, Code::kPermission), "aws sso login"));
  answers(403, R"({"message":"No access"})");
  EXPECT_TRUE(has(refusal({}, Code::kPermission), "No access"));
  answers(500, "");
  refusal({}, Code::kUnavailable);
  answers(200, R"({"roleCredentials":{"accessKeyId":"A","secretAccessKey":"CANARY"}})");
  refusal({}, Code::kCorrupt);
  log_in("whenever");
  refusal({}, Code::kPermission);
}

// ---- programs ----

TEST_F(ChainTest, RunsTheProfilesProgram) {
  world_.write("/h/.aws/config", "[default]\ncredential_process = \"/opt/my tool\" --user 'a b' --key CANARY\n");
  world_.processes->result = ProcessRunner::Exit{0, R"({"Version": 1, "AccessKeyId": "ASIAPROC",
      "SecretAccessKey": "CANARY/secret", "SessionToken": "CANARY/token", "Expiration": "2023-11-15T00:13:20+01:00"})"};
  const Credentials got = found({});
  EXPECT_EQ(got.access_key_id, "ASIAPROC");
  EXPECT_EQ(got.expires_unix, testing::kFakeNow + 3600);
  EXPECT_EQ(world_.processes->ran.back(),
            (std::vector<std::string>{"/opt/my tool", "--user", "a b", "--key", "CANARY"}));
  world_.processes->result = ProcessRunner::Exit{0, R"({"Version": 1, "AccessKeyId": "ASIAPROC",
      "SecretAccessKey": "CANARY/secret", "Expiration": "2023-11-15T00:13:20+02:00"})"};
  EXPECT_TRUE(has(refusal({}, Code::kPermission), "expired already"));
  world_.processes->result = ProcessRunner::Exit{3, "CANARY"};
  EXPECT_TRUE(has(refusal({}, Code::kPermission), "/opt/my tool ended with exit code 3"));
  world_.processes->result = ProcessRunner::Exit{0, "CANARY, no JSON"};
  refusal({}, Code::kCorrupt);
  world_.processes->result = ProcessRunner::Exit{0, R"({"Version":2,"AccessKeyId":"A","SecretAccessKey":"CANARY"})"};
  refusal({}, Code::kUnsupported);
  world_.processes->result = timed_out("it did not end in time, and was killed");
  refusal({}, Code::kTimeout);
  const size_t ran = world_.processes->ran.size();
  world_.processes->trusted = permission_denied("everybody can write the file");
  EXPECT_TRUE(has(refusal({}, Code::kPermission), "everybody can write"));
  EXPECT_EQ(world_.processes->ran.size(), ran);
}

TEST(SplitCommand, SplitsAsAShellDoesAndExpandsNothing) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(*split_command("a  b\tc"), (Words{"a", "b", "c"}));
  EXPECT_EQ(*split_command(R"(a 'b $HOME "x"' "c \"d\" \n" e\ f '' g"h"i)"),
            (Words{"a", "b $HOME \"x\"", "c \"d\" \\n", "e f", "", "ghi"}));
  EXPECT_EQ(*split_command("a; rm -rf `x` $(y) | z"), (Words{"a;", "rm", "-rf", "`x`", "$(y)", "|", "z"}));
  EXPECT_FALSE(split_command("a 'b").ok());
  EXPECT_FALSE(split_command("  ").ok());
}

class RunProcess : public ::testing::Test {
 protected:
  Result<ProcessRunner::Exit> run(const std::vector<std::string>& words, Nanos timeout = std::chrono::seconds(20),
                                  std::stop_token stop = {}) {
    return RealProcessRunner().run(words, timeout, 1000, stop);
  }
};

TEST_F(RunProcess, GivesOutputAndExitCodeAndDropsErrors) {
  const auto exit = *run({"sh", "-c", "echo \"$0 $1\"; echo CANARY >&2; exit 4", "a b", "c"});
  EXPECT_EQ(exit.output, "a b c\n");
  EXPECT_EQ(exit.code, 4);
  EXPECT_EQ(run({"sh", "-c", "kill -9 $$"})->code, 137);
  EXPECT_EQ(run({"/no/such/program"}).status().code(), Code::kInvalidArgument);
}

TEST_F(RunProcess, IsBoundedInTimeAndOutputWithItsChildren) {
  const TimePoint start = SystemClock::instance().now();
  EXPECT_EQ(run({"sh", "-c", "sleep 30 & sleep 30"}, std::chrono::milliseconds(100)).status().code(), Code::kTimeout);
  EXPECT_EQ(run({"sh", "-c", "exec >&-; sleep 30"}, std::chrono::milliseconds(100)).status().code(), Code::kTimeout);
  EXPECT_EQ(run({"sh", "-c", "yes | head -c 1000000; sleep 30"}).status().code(), Code::kExhausted);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(run({"sleep", "30"}, std::chrono::seconds(20), stop.get_token()).status().code(), Code::kCancelled);
  EXPECT_LT(SystemClock::instance().now() - start, std::chrono::seconds(15));
}

// A program is run from a file that nobody but its user, root, or the user's own primary group can write.
TEST_F(RunProcess, RunsNothingFromAFileThatOthersCanWrite) {
  std::string path = "/tmp/headrace-trusts-XXXXXX";
  const int fd = ::mkstemp(path.data());
  ASSERT_GE(fd, 0);
  const auto says = [&](mode_t mode) {
    EXPECT_EQ(::fchmod(fd, mode), 0);
    return RealProcessRunner().trusts(path).message();
  };
  for (const mode_t mode : {0600, 0644, 0664, 0400}) EXPECT_EQ(says(mode), "") << mode;
  EXPECT_NE(says(0602).find("everybody can write the file"), std::string::npos);
  if (::geteuid() == 0) {
    ASSERT_EQ(::fchown(fd, 0, 12345), 0);
    EXPECT_EQ(says(0640), "");
    EXPECT_NE(says(0660).find("its group (gid=12345) can write the file"), std::string::npos);
    ASSERT_EQ(::fchown(fd, 12345, 0), 0);
    EXPECT_NE(says(0600).find("belongs to another user"), std::string::npos);
  }
  ::close(fd);
  ::unlink(path.c_str());
  EXPECT_NE(RealProcessRunner().trusts(path).message().find("stat: "), std::string::npos);
}

TEST(CredentialJson, IsBoundedAndFlat) {
  const auto fields = parse_json_fields(R"({"a":"x","b":{"c":7,"d":null,"e":true},"f":["z"]})");
  EXPECT_EQ(*fields, (JsonFields{{"a", "x"}, {"b.c", "7"}, {"b.e", "true"}}));
  for (const std::string& bad : {std::string("[1]"), std::string("{"), std::string(""),
                                 std::string(R"({"a":[[[[1]]]]})"), std::string(70'000, ' ') + "{}"}) {
    EXPECT_EQ(parse_json_fields(bad).status().code(), Code::kCorrupt);
  }
}

}  // namespace
}  // namespace headrace
