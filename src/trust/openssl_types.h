// Names of OpenSSL's types, for headers: who includes them does not get OpenSSL with them.
#pragma once

struct ssl_st;
struct ssl_ctx_st;
struct x509_st;
struct x509_store_st;
struct evp_pkey_st;
struct stack_st_X509;

namespace podmirror::trust {

using OpensslCertificate = x509_st;         // X509
using OpensslCertificates = stack_st_X509;  // STACK_OF(X509)
using OpensslKey = evp_pkey_st;             // EVP_PKEY
using OpensslContext = ssl_ctx_st;          // SSL_CTX
using OpensslStore = x509_store_st;         // X509_STORE
using OpensslStream = ssl_st;               // SSL

}  // namespace podmirror::trust
