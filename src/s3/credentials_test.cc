// SPDX-License-Identifier: Apache-2.0
#include "s3/credentials.h"

#include <gtest/gtest.h>

#include "s3/aws_config.h"
#include "s3/s3_options.h"
#include "s3/testing/fake_world.h"

namespace headrace {
namespace {

using Values = std::map<std::string, std::string>;

class CredentialsTest : public ::testing::Test {
 protected:
  Result<std::shared_ptr<CredentialsProvider>> resolve(const Values& values, const S3Options& options = {}) {
    Values all = values;
    all.emplace("HOME", "/h");
    return resolve_credentials(options, Environment(all), world_.tools());
  }
  Credentials found(const Values& values, const S3Options& options = {}) {
    auto provider = resolve(values, options);
    EXPECT_TRUE(provider.ok()) << provider.status().message();
    return provider.ok() ? *(*provider)->current() : Credentials{};
  }
  void write(const std::string& path, const std::string& text) { world_.write(path, text); }

  testing::FakeWorld world_;
};

TEST_F(CredentialsTest, TheFirstSourceThatHasSomeWins) {
  write("/h/.aws/credentials",
        "[default]\naws_access_key_id = FILE\naws_secret_access_key = s\n"
        "[other]\naws_access_key_id=OTHER\naws_secret_access_key=s\naws_session_token=t\n");
  const Values environment = {{"AWS_ACCESS_KEY_ID", "ENV"}, {"AWS_SECRET_ACCESS_KEY", "s"}, {"AWS_SESSION_TOKEN", "tok"}};
  S3Options options;
  EXPECT_EQ(found({}, options).access_key_id, "FILE");
  EXPECT_EQ(found({}, options).source, "profile default of /h/.aws/credentials");
  EXPECT_EQ(found(environment, options).access_key_id, "ENV");
  EXPECT_EQ(found(environment, options).session_token, Secret("tok"));
  Values with_profile = environment;
  with_profile["AWS_PROFILE"] = "other";
  EXPECT_EQ(found(with_profile, options).access_key_id, "ENV");  // as boto3
  EXPECT_EQ(found({{"AWS_PROFILE", "other"}}, options).session_token, Secret("t"));
  options.profile = "other";
  EXPECT_EQ(found(environment, options).access_key_id, "OTHER");
  options.access_key_id = "OPTION";
  options.secret_access_key = Secret("s");
  EXPECT_EQ(found(environment, options).access_key_id, "OPTION");
  options.anonymous = true;
  EXPECT_TRUE(found(environment, options).anonymous());
}

TEST_F(CredentialsTest, OfTheEnvironmentEndWhenItSaysSo) {
  Values values = {{"AWS_ACCESS_KEY_ID", "ENV"}, {"AWS_SECRET_ACCESS_KEY", "CANARY"}};
  values["AWS_CREDENTIAL_EXPIRATION"] = "2023-11-14T22:13:21Z";  // the fake clock stands at 22:13:20
  EXPECT_EQ(found(values).expires_unix, testing::kFakeNow + 1);
  values["AWS_CREDENTIAL_EXPIRATION"] = "2023-11-14T22:13:20Z";
  const Status expired = resolve(values).status();
  EXPECT_EQ(expired.code(), Code::kPermission);
  EXPECT_NE(expired.message().find("expired at 2023-11-14T22:13:20Z"), std::string::npos) << expired.message();
  values["AWS_CREDENTIAL_EXPIRATION"] = "tomorrow";
  EXPECT_EQ(resolve(values).status().code(), Code::kInvalidArgument);
}

TEST_F(CredentialsTest, ReadsTheFilesThatTheEnvironmentNames) {
  write("/etc/keys", "[default]\naws_access_key_id = KEYS\naws_secret_access_key = s\n");
  EXPECT_EQ(found({{"AWS_SHARED_CREDENTIALS_FILE", "/etc/keys"}}).access_key_id, "KEYS");
  write("/etc/config", "[profile p]\naws_access_key_id = CONF\naws_secret_access_key = s\n");
  EXPECT_EQ(found({{"AWS_CONFIG_FILE", "/etc/config"}, {"AWS_PROFILE", "p"}}).access_key_id, "CONF");
}

TEST_F(CredentialsTest, SaysWhereItLookedWhenThereAreNone) {
  const Status status = resolve({}).status();
  EXPECT_EQ(status.code(), Code::kPermission);
  for (const char* part : {"AWS_ACCESS_KEY_ID", "/h/.aws/credentials", "/h/.aws/config", "\"default\"",
                           "AWS_WEB_IDENTITY_TOKEN_FILE is not set", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                           "http://169.254.169.254", "hop limit", "anonymous"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
  write("/h/.aws/config", "[default]\nlogin_session = arn\n");
  EXPECT_NE(resolve({}).status().message().find("login_session"), std::string::npos);
  write("/h/.aws/config", "[default]\nsso_session = corp\n");
  EXPECT_NE(resolve({}).status().message().find("sso_account_id"), std::string::npos);
}

TEST_F(CredentialsTest, RefusesHalfAPairAndAProfileThatIsNotThere) {
  EXPECT_EQ(resolve({{"AWS_ACCESS_KEY_ID", "A"}}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(resolve({{"AWS_SECRET_ACCESS_KEY", "s"}}).status().code(), Code::kInvalidArgument);
  const Status status = resolve({{"AWS_PROFILE", "nobody"}}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("\"nobody\""), std::string::npos);
}

TEST_F(CredentialsTest, NeverShowsAKeyThatCannotBeOne) {
  const Status status =
      resolve({{"AWS_ACCESS_KEY_ID", "AKID"}, {"AWS_SECRET_ACCESS_KEY", "hunter2\r\nx: y"}}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.message().find("hunter2"), std::string::npos);
}

TEST_F(CredentialsTest, ReadsARewrittenFileWhenTheStoreSaysExpired) {
  write("/h/.aws/credentials", "[default]\naws_access_key_id=A\naws_secret_access_key=s\naws_session_token=old\n");
  auto provider = *resolve({});
  const auto old = provider->current();
  Status refused;
  provider->refresh(old, [&](auto result) { refused = result.status(); });
  world_.worker->run_ready();
  EXPECT_EQ(refused.code(), Code::kPermission);  // nothing newer there
  EXPECT_NE(refused.message().find("no newer ones"), std::string::npos);
  world_.clock.advance(std::chrono::seconds(6));
  write("/h/.aws/credentials", "[default]\naws_access_key_id=A\naws_secret_access_key=s\naws_session_token=new\n");
  for (int i = 0; i < 2; ++i) {  // the second finds that it was done already
    std::shared_ptr<const Credentials> fresh;
    provider->refresh(old, [&](auto result) { fresh = *result; });
    world_.worker->run_ready();
    ASSERT_TRUE(fresh);
    EXPECT_EQ(fresh->session_token, Secret("new"));
    EXPECT_EQ(provider->current(), fresh);
  }
}

TEST_F(CredentialsTest, StaticOnesCannotRenewThemselves) {
  auto provider = static_credentials({"A", Secret("s"), Secret(), std::nullopt, "the options"});
  Status refused;
  provider->refresh(provider->current(), [&](auto result) { refused = result.status(); });
  EXPECT_EQ(refused.code(), Code::kPermission);
  EXPECT_NE(refused.message().find("the options"), std::string::npos);
}

TEST(AwsConfig, ReadsIniAsBotocoreDoes) {
  auto file = parse_ini(
      "# comment\n; comment\n[default]\nregion=eu-west-1\n\n[profile   two ]\r\n"
      "s3 =\n    addressing_style = path\n    max = 3 # not a comment\nregion = x\n[services here]\ns3 =\n"
      "  endpoint_url = http://h:1\n",
      "f");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)["default"]["region"], "eu-west-1");
  EXPECT_EQ((*file)["profile two"]["s3.addressing_style"], "path");
  EXPECT_EQ((*file)["profile two"]["s3.max"], "3 # not a comment");
  EXPECT_EQ((*file)["profile two"]["region"], "x");
  EXPECT_EQ((*file)["services here"]["s3.endpoint_url"], "http://h:1");
  for (const char* broken : {"[default\n", "key = value\n", "[a]\nnonsense\n"}) {
    const Status status = parse_ini(broken, "/p/f").status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << broken;
    EXPECT_NE(status.message().find("/p/f line "), std::string::npos);
  }
}

TEST(AwsConfig, SettingsFollowTheOrderOfTheSdks) {
  MemoryFileSystem files;
  ASSERT_TRUE(files.write_atomic("/h/.aws/config",
                                 "[default]\nregion = from-profile\nendpoint_url = http://profile\n"
                                 "s3 =\n  addressing_style = virtual\n"
                                 "[profile p]\nservices = local\n[services local]\ns3 =\n  endpoint_url = http://service\n")
                  .ok());
  const auto with = [&](Values values, S3Options options = {}) {
    values["HOME"] = "/h";
    auto result = with_aws_settings(options, Environment(values), files);
    EXPECT_TRUE(result.ok()) << result.status().message();
    return *result;
  };
  EXPECT_EQ(with({}).region, "from-profile");
  EXPECT_EQ(with({}).endpoint_url, "http://profile");
  EXPECT_EQ(with({}).addressing, S3Addressing::kVirtual);
  EXPECT_EQ(with({{"AWS_PROFILE", "p"}}).endpoint_url, "http://service");
  EXPECT_EQ(with({{"AWS_DEFAULT_REGION", "d"}}).region, "d");
  EXPECT_EQ(with({{"AWS_DEFAULT_REGION", "d"}, {"AWS_REGION", "r"}}).region, "r");
  EXPECT_EQ(with({{"AWS_ENDPOINT_URL", "http://e"}}).endpoint_url, "http://e");
  EXPECT_EQ(with({{"AWS_ENDPOINT_URL", "http://e"}, {"AWS_ENDPOINT_URL_S3", "http://s3"}}).endpoint_url, "http://s3");
  EXPECT_EQ(with({{"AWS_ENDPOINT_URL", "http://e"}, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "TRUE"}}).endpoint_url, "");
  S3Options options;
  options.region = "option";
  options.endpoint_url = "http://option";
  options.addressing = S3Addressing::kPath;
  EXPECT_EQ(with({{"AWS_REGION", "r"}, {"AWS_ENDPOINT_URL", "http://e"}}, options).region, "option");
  EXPECT_EQ(with({{"AWS_ENDPOINT_URL", "http://e"}}, options).endpoint_url, "http://option");
  EXPECT_EQ(with({}, options).addressing, S3Addressing::kPath);
  EXPECT_TRUE(with({{"AWS_USE_FIPS_ENDPOINT", "true"}}).fips);
  ASSERT_TRUE(files.write_atomic("/h/.aws/config", "[default]\ns3 =\n  addressing_style = odd\n").ok());
  EXPECT_EQ(with_aws_settings({}, Environment(Values{{"HOME", "/h"}}), files).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace headrace
