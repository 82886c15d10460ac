//! Server reflection: lets a client without our .proto files learn the services of this port.
//!
//! `grpc.reflection.v1` and `v1alpha` are two paths to one set of messages, so the types of v1
//! serve both.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::{
    grpc::Code,
    proto::grpc::reflection::v1::{
        ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
        ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
};

/// What is known of the .proto files that this build was made from.
pub struct Reflection {
    files: BTreeMap<String, File>,
    /// Full name of everything declared → the name of its file.
    symbols: BTreeMap<String, String>,
    services: Vec<String>,
}

struct File {
    /// The `FileDescriptorProto` as the compiler wrote it.
    encoded: Bytes,
    imports: Vec<String>,
}

impl Reflection {
    /// Reads an encoded `FileDescriptorSet`.
    ///
    /// # Panics
    /// If it is none: the set is part of the program, so that is our bug.
    pub fn new(descriptors: &'static [u8]) -> Reflection {
        let set = FileSet::decode(descriptors).expect("build.rs wrote a FileDescriptorSet");
        let mut reflection = Reflection {
            files: BTreeMap::new(),
            symbols: BTreeMap::new(),
            services: Vec::new(),
        };
        for encoded in set.files {
            let names = FileNames::decode(&*encoded).expect("build.rs wrote FileDescriptorProtos");
            let mut declared = Declared {
                symbols: Vec::new(),
            };
            declared.file(&names);
            for symbol in declared.symbols {
                reflection.symbols.insert(symbol, names.name.clone());
            }
            for service in &names.services {
                reflection
                    .services
                    .push(join(&names.package, &service.name));
            }
            let imports = names.imports;
            reflection
                .files
                .insert(names.name, File { encoded, imports });
        }
        reflection
    }

    /// Answers one request of the stream. What is unknown is an `error_response` within the
    /// stream, which stays open for the next question.
    pub fn answer(&self, request: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = match &request.message_request {
            Some(MessageRequest::ListServices(_)) => self.list_services(),
            Some(MessageRequest::FileByFilename(name)) => self.file(name),
            Some(MessageRequest::FileContainingSymbol(symbol)) => match self.symbols.get(symbol) {
                Some(file) => self.file(file),
                None => not_found("symbol", symbol),
            },
            Some(MessageRequest::FileContainingExtension(extension)) => {
                not_found("extension of", &extension.containing_type)
            }
            Some(MessageRequest::AllExtensionNumbersOfType(name)) => self.extensions(name),
            None => MessageResponse::ErrorResponse(ErrorResponse {
                error_code: Code::InvalidArgument as i32,
                error_message: "the request asks nothing; set one field of message_request".into(),
            }),
        };
        ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        }
    }

    fn list_services(&self) -> MessageResponse {
        let service = self
            .services
            .iter()
            .map(|name| ServiceResponse { name: name.clone() })
            .collect();
        MessageResponse::ListServicesResponse(ListServiceResponse { service })
    }

    /// The file and, transitively, its imports: the file first.
    fn file(&self, name: &str) -> MessageResponse {
        let Some((name, _)) = self.files.get_key_value(name) else {
            return not_found("file", name);
        };
        let mut files = Vec::new();
        let mut seen = BTreeSet::from([name]);
        let mut wanted = vec![name];
        while let Some(name) = wanted.pop() {
            // A set that build.rs wrote holds every import.
            let file = &self.files[name];
            files.push(file.encoded.clone());
            wanted.extend(file.imports.iter().filter(|import| seen.insert(import)));
        }
        MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
            file_descriptor_proto: files,
        })
    }

    /// None of our messages has extensions (proto3 has none), but a known type is not an error.
    fn extensions(&self, type_name: &str) -> MessageResponse {
        if !self.symbols.contains_key(type_name) {
            return not_found("type", type_name);
        }
        MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
            base_type_name: type_name.into(),
            extension_number: Vec::new(),
        })
    }
}

fn not_found(what: &str, name: &str) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse {
        error_code: Code::NotFound as i32,
        error_message: format!("this server has no {what} {name:?}; ask for list_services"),
    })
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        return name.into();
    }
    format!("{scope}.{name}")
}

/// Collects the full names that a file declares.
struct Declared {
    symbols: Vec<String>,
}

impl Declared {
    fn file(&mut self, file: &FileNames) {
        self.messages(&file.package, &file.messages);
        self.enums(&file.package, &file.enums);
        for service in &file.services {
            let scope = join(&file.package, &service.name);
            self.all(&scope, &service.methods);
            self.symbols.push(scope);
        }
    }

    fn messages(&mut self, scope: &str, messages: &[MessageNames]) {
        for message in messages {
            let scope = join(scope, &message.name);
            self.all(&scope, &message.fields);
            self.all(&scope, &message.oneofs);
            self.messages(&scope, &message.messages);
            self.enums(&scope, &message.enums);
            self.symbols.push(scope);
        }
    }

    /// An enum's values are its siblings, not its children: protobuf scopes them as C++ does.
    fn enums(&mut self, scope: &str, enums: &[EnumNames]) {
        for declared in enums {
            self.all(scope, &declared.values);
            self.symbols.push(join(scope, &declared.name));
        }
    }

    fn all(&mut self, scope: &str, names: &[Name]) {
        self.symbols
            .extend(names.iter().map(|name| join(scope, &name.name)));
    }
}

// The part of google/protobuf/descriptor.proto that names things. Files stay encoded beside it,
// because what these types leave out must reach the client too.

#[derive(Clone, PartialEq, Message)]
struct FileSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct FileNames {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    imports: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<MessageNames>,
    #[prost(message, repeated, tag = "5")]
    enums: Vec<EnumNames>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<ServiceNames>,
}

#[derive(Clone, PartialEq, Message)]
struct MessageNames {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    fields: Vec<Name>,
    #[prost(message, repeated, tag = "3")]
    messages: Vec<MessageNames>,
    #[prost(message, repeated, tag = "4")]
    enums: Vec<EnumNames>,
    #[prost(message, repeated, tag = "8")]
    oneofs: Vec<Name>,
}

#[derive(Clone, PartialEq, Message)]
struct EnumNames {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    values: Vec<Name>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceNames {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Name>,
}

#[derive(Clone, PartialEq, Message)]
struct Name {
    #[prost(string, tag = "1")]
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: MessageRequest) -> MessageResponse {
        let reflection = Reflection::new(crate::proto::DESCRIPTORS);
        let request = ServerReflectionRequest {
            host: "here".into(),
            message_request: Some(request),
        };
        let response = reflection.answer(request.clone());
        assert_eq!(response.original_request, Some(request));
        response.message_response.expect("an answer")
    }

    fn file_with(symbol: &str) -> String {
        match ask(MessageRequest::FileContainingSymbol(symbol.into())) {
            MessageResponse::FileDescriptorResponse(files) => {
                FileNames::decode(&*files.file_descriptor_proto[0])
                    .expect("a descriptor")
                    .name
            }
            other => panic!("{symbol}: {other:?}"),
        }
    }

    fn error_code(answer: MessageResponse) -> i32 {
        match answer {
            MessageResponse::ErrorResponse(error) => error.error_code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_service_of_this_port_is_listed() {
        let MessageResponse::ListServicesResponse(list) =
            ask(MessageRequest::ListServices(String::new()))
        else {
            panic!("not a list");
        };
        let mut names: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "raftkv.proto.BackupService",
                "raftkv.proto.ClusterService",
                "raftkv.proto.KvService",
            ]
        );
    }

    #[test]
    fn services_methods_messages_fields_and_enums_lead_to_their_file() {
        for (symbol, file) in [
            ("raftkv.proto.KvService", "raftkv.proto"),
            ("raftkv.proto.KvService.Put", "raftkv.proto"),
            ("raftkv.proto.PutRequest", "raftkv.proto"),
            ("raftkv.proto.PutRequest.key", "raftkv.proto"),
            ("raftkv.proto.ClusterService.MemberChange", "cluster.proto"),
            ("raftkv.proto.Refusal.SILENT", "cluster.proto"),
            ("grpc.health.v1.Health", "health.proto"),
            (
                "grpc.health.v1.HealthCheckResponse.ServingStatus",
                "health.proto",
            ),
            ("grpc.health.v1.HealthCheckResponse.SERVING", "health.proto"),
            ("grpc.reflection.v1.ServerReflection", "reflection_v1.proto"),
            (
                "grpc.reflection.v1alpha.ServerReflectionRequest.message_request",
                "reflection_v1alpha.proto",
            ),
        ] {
            assert_eq!(file_with(symbol), file, "{symbol}");
        }
    }

    #[test]
    fn what_is_unknown_is_an_error_within_the_stream() {
        for request in [
            MessageRequest::FileContainingSymbol("raftkv.proto.Nothing".into()),
            MessageRequest::FileContainingSymbol(String::new()),
            MessageRequest::FileByFilename("nothing.proto".into()),
            MessageRequest::FileContainingExtension(Default::default()),
            MessageRequest::AllExtensionNumbersOfType("raftkv.proto.Nothing".into()),
        ] {
            assert_eq!(error_code(ask(request)), Code::NotFound as i32);
        }
    }

    #[test]
    fn a_known_type_has_an_empty_list_of_extensions() {
        let answer = ask(MessageRequest::AllExtensionNumbersOfType(
            "raftkv.proto.PutRequest".into(),
        ));
        let MessageResponse::AllExtensionNumbersResponse(numbers) = answer else {
            panic!("{answer:?}");
        };
        assert!(numbers.extension_number.is_empty());
    }

    #[test]
    fn a_file_comes_with_its_imports_each_once() {
        let importing = FileNames {
            name: "a.proto".into(),
            imports: vec!["b.proto".into(), "c.proto".into()],
            ..FileNames::default()
        };
        let imported = FileNames {
            name: "b.proto".into(),
            imports: vec!["c.proto".into()],
            ..FileNames::default()
        };
        let last = FileNames {
            name: "c.proto".into(),
            ..FileNames::default()
        };
        let files = [importing, imported, last].map(|file| Bytes::from(file.encode_to_vec()));
        let set = FileSet {
            files: files.to_vec(),
        };
        let reflection = Reflection::new(set.encode_to_vec().leak());
        let MessageResponse::FileDescriptorResponse(answer) = reflection.file("a.proto") else {
            panic!("not files");
        };
        let mut names: Vec<_> = answer
            .file_descriptor_proto
            .iter()
            .map(|file| FileNames::decode(&**file).expect("a descriptor").name)
            .collect();
        assert_eq!(names[0], "a.proto");
        names.sort();
        assert_eq!(names, ["a.proto", "b.proto", "c.proto"]);
    }
}
